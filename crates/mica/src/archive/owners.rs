//! The ids of a session of an ordinary user: what they are inside.

use super::error::Unexportable;
use crate::session::{Ids, Session, Users};

/// Which ids objects on disk have in an archive.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// `None`: the same.
    users: Option<Users>,
}

impl Owners {
    /// Takes those of a session.
    pub(super) fn of(session: &Session) -> Self {
        let users = session.users().cloned();
        Self { users }
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
        let ids = |inside, outside, count| Ids {
            inside,
            outside,
            count,
        };
        let users = Some(Users {
            uid: 0,
            gid: 0,
            uids: vec![ids(0, 1000, 1), ids(1, 100_000, 10)],
            gids: vec![ids(5, 1000, 1)],
        });
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
