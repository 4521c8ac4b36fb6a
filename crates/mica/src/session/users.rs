//! The ids of a session's user namespace.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use mica_overlay::{HardLinks, LayerUser, Permissions};
use mica_vfs::Errno;
use rustix::process::{Pid, getegid, geteuid};
use rustix::thread::CapabilitySet;

use super::Who;
use super::barred::Barred;
use super::error::{DoError, step};
use super::plan::{Ids, Users};

/// So many ids are what most programs expect.
const WANTED: u32 = 65_536;

/// Decides which ids a session of this process's user has; `None` for root of the machine, who needs none.
///
/// # Errors
///
/// There can be no ids.
pub(super) fn choose(who: Who) -> Result<Option<Users>, DoError> {
    let (uid, gid) = (geteuid(), getegid());
    if uid.is_root() {
        return contained();
    }
    let (uid, gid) = (uid.as_raw(), gid.as_raw());
    let inside = match who {
        Who::Same => (uid, gid),
        Who::Root => (0, 0),
    };
    let name = user_name(uid);
    let range = |file: &str| subordinate(&fs::read_to_string(file).unwrap_or_default(), &name, uid);
    let ranges = range("/etc/subuid").zip(range("/etc/subgid"));
    let (uids, gids) = match ranges.filter(|_| has_program("newuidmap") && has_program("newgidmap"))
    {
        Some((uids, gids)) => (around(inside.0, uid, uids), around(inside.1, gid, gids)),
        None => (vec![only(inside.0, uid)], vec![only(inside.1, gid)]),
    };
    Ok(Some(Users {
        uid: inside.0,
        gid: inside.1,
        uids,
        gids,
    }))
}

/// Decides which ids a session of root has; `None` if he may mount, and marks of his are those of the machine's root. In a container he may be
/// less: then he has all ids that there are, if he may give them away, and his own otherwise.
fn contained() -> Result<Option<Users>, DoError> {
    let held = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let held = held.unwrap_or_else(|_| CapabilitySet::all());
    if held.contains(CapabilitySet::SYS_ADMIN) && is_initial() {
        return Ok(None);
    }
    if !held.contains(CapabilitySet::SETFCAP) {
        return Err(DoError::Barred {
            why: Barred::Setfcap,
            source: Errno::PERM,
        });
    }
    let giving = CapabilitySet::SETUID | CapabilitySet::SETGID;
    let all = |file: &str| own_map(&fs::read_to_string(file).unwrap_or_default());
    let ids = all("/proc/self/uid_map").zip(all("/proc/self/gid_map"));
    let ids = ids.filter(|_| held.contains(giving));
    let (uids, gids) = ids.unwrap_or_else(|| (vec![only(0, 0)], vec![only(0, 0)]));
    Ok(Some(Users {
        uid: 0,
        gid: 0,
        uids,
        gids,
    }))
}

/// Whether this process is in the user namespace that the machine began with.
fn is_initial() -> bool {
    /// `PROC_USER_INIT_INO`.
    const INITIAL: u64 = 0xeffffffd;
    fs::metadata("/proc/self/ns/user").is_ok_and(|namespace| namespace.ino() == INITIAL)
}

/// Reads the ids that this process has in its user namespace from `uid_map` or `gid_map`.
pub(super) fn ids_in(map: &str) -> Option<Vec<Ids>> {
    let ids = map.lines().map(|line| {
        let mut fields = line.split_whitespace().map(str::parse);
        let mut next = || fields.next()?.ok();
        Some(Ids {
            inside: next()?,
            outside: next()?,
            count: next()?,
        })
    });
    ids.collect()
}

/// Reads the ids of this user namespace from its map; each is to be itself in another one. `None` if root is none of them.
fn own_map(map: &str) -> Option<Vec<Ids>> {
    let mut ids = ids_in(map)?;
    for ids in &mut ids {
        ids.outside = ids.inside;
    }
    ids.iter().any(|ids| ids.inside == 0).then_some(ids)
}

/// Says who decides what a command of theirs may do: of root of a session the kernel, by what it is shown. What runs as the ordinary user can be
/// nobody else, and may do what the machine lets him do.
pub(super) fn permissions(users: &Users) -> Permissions {
    let Users { uid, gid, .. } = *users;
    if uid == 0 {
        return Permissions::Shown;
    }
    let protected = fs::read_to_string("/proc/sys/fs/protected_hardlinks");
    let hard_links = match protected.as_deref().map(str::trim) {
        Ok("0") => HardLinks::All,
        _ => HardLinks::Protected,
    };
    Permissions::Of(LayerUser {
        uid,
        gid,
        hard_links,
    })
}

/// Fails if a session of these users, which was used before, cannot be had by `who`.
pub(super) fn accept(users: Option<&Users>, who: Who, name: &OsStr) -> Result<(), DoError> {
    match users {
        Some(users) if who == Who::Root && users.uid != 0 => {
            Err(DoError::OtherUser { name: name.into() })
        }
        _ => Ok(()),
    }
}

fn only(inside: u32, outside: u32) -> Ids {
    Ids {
        inside,
        outside,
        count: 1,
    }
}

/// Lays the ids of a range around the user's own one.
fn around(inside: u32, outside: u32, (first, count): (u32, u32)) -> Vec<Ids> {
    let count = count.min(WANTED - 1);
    let before = inside.min(count);
    let after = count - before;
    let mut ids = vec![Ids {
        inside: 0,
        outside: first,
        count: before,
    }];
    ids.push(only(inside, outside));
    ids.push(Ids {
        inside: inside.saturating_add(1),
        outside: first.saturating_add(before),
        count: after,
    });
    ids.retain(|ids| ids.count > 0);
    ids
}

/// Finds the first range of a user in the text of subuid(5).
fn subordinate(text: &str, name: &str, uid: u32) -> Option<(u32, u32)> {
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let whose = fields.next()?;
        if whose != name && whose != uid {
            return None;
        }
        let (first, count) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (count > 0).then_some((first, count))
    })
}

/// Finds the name of a user in passwd(5). One that is elsewhere has its ranges there, too, and they are not found.
fn user_name(uid: u32) -> String {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let uid = uid.to_string();
    let mut lines = text.lines().map(|line| line.split(':'));
    let name = lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    name.unwrap_or_default()
}

fn has_program(name: &str) -> bool {
    ["/usr/bin", "/bin", "/usr/local/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(name).is_file())
}

/// Gives ids to the namespace of `process`, a child. Root gives them himself, others have the programs of the system do it.
pub(super) fn map_range(process: Pid, users: &Users) -> Result<(), DoError> {
    if geteuid().is_root() {
        let dir = format!("/proc/{}", process.as_raw_pid());
        write_map(Path::new(&dir).join("uid_map"), &map_of(&users.uids))?;
        return write_map(Path::new(&dir).join("gid_map"), &map_of(&users.gids));
    }
    for (program, ids) in [("newuidmap", &users.uids), ("newgidmap", &users.gids)] {
        let mut command = Command::new(program);
        command.arg(process.as_raw_pid().to_string());
        for one in ids {
            command.args([one.inside, one.outside, one.count].map(|number| number.to_string()));
        }
        let output = command
            .output()
            .map_err(|source| DoError::Start { source })?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr)
                .trim()
                .escape_debug()
                .to_string();
            return Err(DoError::Ids { program, message });
        }
    }
    Ok(())
}

/// Gives the namespace of this process the one id that it may have without help.
pub(super) fn map_alone(users: &Users) -> Result<(), DoError> {
    // Who cannot have other groups could drop those that forbid him something.
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", map_of(&users.uids)),
        ("gid_map", map_of(&users.gids)),
    ] {
        write_map(Path::new("/proc/self").join(file), &text)?;
    }
    Ok(())
}

fn map_of(ids: &[Ids]) -> String {
    let lines = ids
        .iter()
        .map(|one| format!("{} {} {}\n", one.inside, one.outside, one.count));
    lines.collect()
}

fn write_map(path: PathBuf, text: &str) -> Result<(), DoError> {
    fs::write(&path, text).map_err(|source| DoError::Store {
        action: "write",
        path,
        source,
    })
}

/// Checks that this process is who it is to be in its new namespace.
pub(super) fn take_on(users: &Users) -> Result<(), DoError> {
    let is = (geteuid().as_raw(), getegid().as_raw());
    let right = if is == (users.uid, users.gid) {
        Ok(())
    } else {
        Err(Errno::PERM)
    };
    step("the ids of the user namespace", right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_id_stands_among_those_of_the_range() {
        let ids = |ids: Vec<Ids>| -> Vec<_> {
            ids.iter()
                .map(|one| (one.inside, one.outside, one.count))
                .collect()
        };
        let whole = (100_000, 65_536);
        assert_eq!(
            ids(around(1000, 1000, whole)),
            [(0, 100_000, 1000), (1000, 1000, 1), (1001, 101_000, 64_535)]
        );
        assert_eq!(
            ids(around(0, 1000, whole)),
            [(0, 1000, 1), (1, 100_000, 65_535)]
        );
        assert_eq!(ids(around(7, 7, (5, 3))), [(0, 5, 3), (7, 7, 1)]);
    }

    #[test]
    fn the_ids_of_a_container_are_themselves_in_the_session() {
        let ids = own_map("         0     100000       1000\n      1000       1000          1\n")
            .unwrap();
        let of = |one: &Ids| (one.inside, one.outside, one.count);
        assert_eq!(
            ids.iter().map(of).collect::<Vec<_>>(),
            [(0, 0, 1000), (1000, 1000, 1)]
        );
        assert_eq!(own_map("1 1 1\n"), None);
        assert_eq!(own_map("0 0\n"), None);
    }

    #[test]
    fn a_range_is_found_by_name_or_number() {
        let text = "other:1:2\nme:100000:65536\n1001:7:8\nbad:x:1\n";
        assert_eq!(subordinate(text, "me", 1000), Some((100_000, 65_536)));
        assert_eq!(subordinate(text, "", 1001), Some((7, 8)));
        assert_eq!(subordinate(text, "bad", 5), None);
    }
}
