//! Whose an object is, as the processes of a session see it: what tells whether a session gave it to somebody else.

use std::fs;

use mica_overlay::OVERFLOW_ID;

use super::plan::{Ids, Users};
use super::users::ids_in;

/// Turns owners as stat(2) tells them here into those that the session shows.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    users: Option<Users>,
    /// Whether this process is in a user namespace with the session's ids.
    inside: bool,
}

impl Whose {
    /// Takes the ids of a session; `None`: one of root.
    pub(super) fn of(users: Option<&Users>) -> Self {
        Self {
            users: users.cloned(),
            inside: users.is_some_and(is_inside),
        }
    }

    /// Whether ids here are those that `base.log` has.
    pub(crate) fn are_recorded(&self) -> bool {
        self.users.is_none() || self.inside
    }

    /// Whether this process is in a user namespace with the session's ids.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside
    }

    /// Whether nobody here can tell who these owner and group are.
    pub(crate) fn is_unknown(&self, (uid, gid): (u32, u32)) -> bool {
        self.inside && (uid == OVERFLOW_ID || gid == OVERFLOW_ID)
    }

    /// Returns the owner that the session shows.
    pub(crate) fn uid(&self, uid: u32) -> u32 {
        let users = self.users.as_ref();
        users.map_or(uid, |users| self.seen(uid, users.uid, &users.uids, users))
    }

    /// Returns the group that the session shows.
    pub(crate) fn gid(&self, gid: u32) -> u32 {
        let users = self.users.as_ref();
        users.map_or(gid, |users| self.seen(gid, users.gid, &users.gids, users))
    }

    fn seen(&self, id: u32, own: u32, ids: &[Ids], users: &Users) -> u32 {
        if users.alone() {
            return own;
        }
        let id = if self.inside { id } else { inside(id, ids) };
        if id == OVERFLOW_ID { 0 } else { id }
    }
}

fn inside(outside: u32, ids: &[Ids]) -> u32 {
    let known = ids.iter().find_map(|ids| {
        let nth = outside.checked_sub(ids.outside)?;
        (nth < ids.count).then(|| ids.inside.saturating_add(nth))
    });
    known.unwrap_or(OVERFLOW_ID)
}

/// Whether the ids of this process are those of `users`.
fn is_inside(users: &Users) -> bool {
    let has = |file: &str, ids: &[Ids]| {
        let map = fs::read_to_string(file).unwrap_or_default();
        ids_in(&map).as_deref() == Some(ids)
    };
    has("/proc/self/uid_map", &users.uids) && has("/proc/self/gid_map", &users.gids)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(inside: u32, outside: u32, count: u32) -> Ids {
        Ids {
            inside,
            outside,
            count,
        }
    }

    #[test]
    fn what_has_no_id_in_the_session_is_roots_or_the_users() {
        let range = vec![ids(0, 100_000, 1000), ids(1000, 1000, 1)];
        let users = |ids: &Vec<Ids>| Users {
            uid: 1000,
            gid: 1000,
            uids: ids.clone(),
            gids: ids.clone(),
        };
        let whose = |users| Whose {
            users: Some(users),
            inside: false,
        };
        let seen = |whose: &Whose| [0, 5, 1000, 100_007].map(|id| whose.uid(id));
        assert_eq!(seen(&whose(users(&range))), [0, 0, 1000, 7]);
        assert_eq!(seen(&whose(users(&vec![ids(1000, 1000, 1)]))), [1000; 4]);
        assert_eq!(seen(&Whose::of(None)), [0, 5, 1000, 100_007]);
    }
}
