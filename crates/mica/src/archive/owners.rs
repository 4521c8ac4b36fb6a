//! The ids of a session of an ordinary user: what they are inside.

use std::path::Path;

use serde::Deserialize;

use super::error::{ExportError, Unexportable};
use crate::session::Session;

/// What a description of a session has beside much else. docs/do.md describes it.
#[derive(Debug, Deserialize)]
struct Description {
    users: Option<Users>,
}

#[derive(Debug, Deserialize)]
struct Users {
    uids: Vec<Ids>,
    gids: Vec<Ids>,
}

/// Consecutive ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
struct Ids {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Which ids objects on disk have in an archive.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// `None`: the same.
    users: Option<Users>,
}

impl Owners {
    /// Reads what is kept of a session.
    pub(super) fn of(session: &Session) -> Result<Self, ExportError> {
        let upper = session.upper();
        let path = upper.with_file_name("session.json");
        Self::read(&path).map_err(|source| ExportError::Users { path, source })
    }

    fn read(path: &Path) -> std::io::Result<Self> {
        let Description { users } = serde_json::from_slice(&std::fs::read(path)?)?;
        Ok(Self { users })
    }

    /// Returns owner and group of an object of the machine as the session shows them: those that have no id in it are root's, or
    /// all are of the one that there is.
    pub(super) fn shown(&self, uid: u32, gid: u32) -> (u32, u32) {
        let Some(users) = &self.users else {
            return (uid, gid);
        };
        let shown = |ids: &[Ids], id| {
            let other = match ids {
                [only] if only.count == 1 => only.inside,
                _ => 0,
            };
            inside(ids, id).unwrap_or(other)
        };
        (shown(&users.uids, uid), shown(&users.gids, gid))
    }

    /// Returns owner and group as the session has them.
    ///
    /// # Errors
    ///
    /// An id that it does not have.
    pub(super) fn inside(&self, uid: u32, gid: u32) -> Result<(u32, u32), Unexportable> {
        let Some(users) = &self.users else {
            return Ok((uid, gid));
        };
        Ok((inside(&users.uids, uid)?, inside(&users.gids, gid)?))
    }
}

fn inside(ids: &[Ids], id: u32) -> Result<u32, Unexportable> {
    let found = ids.iter().find_map(|range| {
        let nth = id.checked_sub(range.outside)?;
        (nth < range.count).then(|| range.inside.checked_add(nth))?
    });
    found.ok_or(Unexportable::Owner(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_has_the_id_that_it_has_in_the_session() {
        let text = br#"{"version":1,"users":{"uid":0,"gid":0,
            "uids":[{"inside":0,"outside":1000,"count":1},{"inside":1,"outside":100000,"count":10}],
            "gids":[{"inside":5,"outside":1000,"count":1}]}}"#;
        let Description { users } = serde_json::from_slice(text).unwrap();
        let owners = Owners { users };
        assert_eq!(owners.inside(1000, 1000), Ok((0, 5)));
        assert_eq!(owners.inside(100_009, 1000), Ok((10, 5)));
        for uid in [999, 1001, 100_010] {
            assert_eq!(owners.inside(uid, 1000), Err(Unexportable::Owner(uid)));
        }
        assert_eq!(owners.shown(7, 1000), (0, 5));
        assert_eq!(owners.shown(1000, 7), (0, 5));
        assert_eq!(Owners::default().inside(1, 2), Ok((1, 2)));
        assert_eq!(Owners::default().shown(1, 2), (1, 2));
    }
}
