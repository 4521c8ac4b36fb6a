//! Sequences of operations: a few written by hand, the rest drawn from a seed.

use rustix::fs::{FallocateFlags, XattrFlags};

use super::layout::NAMES;
use super::op::{Actor, Call, Op, SLOTS};
use crate::rng::Rng;

/// Returns the sequences that are run on every layout.
pub(crate) fn scripts() -> Vec<Vec<Op>> {
    use Call::{
        Append, Chmod, Create, Hold, HoldWrite, Link, List, Mkdir, ReadHeld, Remount, Rename,
        Rmdir, Setxattr, Stat, StatHeld, Symlink, Unlink, Write, WriteHeld,
    };
    let script = |calls: Vec<Call>| {
        calls
            .into_iter()
            .map(|call| Op {
                actor: Actor::Root,
                call,
            })
            .collect()
    };
    vec![
        // Every kind of removal, then the same names again.
        script(vec![
            Unlink("a"),
            Unlink("d/a"),
            Unlink("d/b"),
            Unlink("d/sub/x"),
            Unlink("d/sub/y"),
            Rmdir("d/sub"),
            Mkdir("d/sub", 0o755),
            Create("d/sub/new", 0o644),
            Create("a", 0o600),
            Remount,
            List("d"),
            List("d/sub"),
        ]),
        // A file that is open while it is copied up, and while it loses its name.
        script(vec![
            Hold(0, "d/a"),
            Append("d/a", "more"),
            ReadHeld(0),
            HoldWrite(1, "d/a"),
            Unlink("d/a"),
            WriteHeld(1, "gone"),
            ReadHeld(0),
            StatHeld(1),
        ]),
        // Copy-up by each kind of change.
        script(vec![
            Chmod("d/a", 0o600),
            Setxattr("d/b", "user.new", b"1", XattrFlags::empty()),
            Link("e/c", "e/new"),
            Stat("e/c"),
            Write("d/sub/x", 0, "W"),
            Rename("d/b", "e/u"),
            Symlink("e/u", "new"),
            Remount,
            Stat("e/new"),
            Stat("d/a"),
        ]),
        // Directories: a lower one is EXDEV, a new one moves.
        script(vec![
            Rename("d", "new"),
            Mkdir("new", 0o755),
            Create("new/a", 0o644),
            Rename("new", "d/n"),
            Rename("d/n", "empty"),
            Rename("e", "d/low"),
            List("d"),
        ]),
    ]
}

/// Draws a sequence of `len` operations.
pub(crate) fn sequence(rng: &mut Rng, len: u64) -> Vec<Op> {
    (0..len).map(|_| draw(rng)).collect()
}

fn draw(rng: &mut Rng) -> Op {
    // Remounts show what is on disk only; too many of them would hide what is in memory only.
    if rng.one_in(12) {
        return Op {
            actor: Actor::Root,
            call: Call::Remount,
        };
    }
    let actor = if rng.one_in(4) {
        Actor::User
    } else {
        Actor::Root
    };
    let call = match rng.below(10) {
        0..=4 => draw_name(rng),
        5 | 6 => draw_data(rng),
        7 => draw_attribute(rng),
        8 => draw_slot(rng),
        _ => draw_question(rng),
    };
    Op { actor, call }
}

fn name(rng: &mut Rng) -> &'static str {
    rng.pick(NAMES, "a")
}

fn bits(rng: &mut Rng) -> u32 {
    rng.pick(
        &[0o644, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o1777, 0o000],
        0o644,
    )
}

fn draw_name(rng: &mut Rng) -> Call {
    match rng.below(16) {
        0 => Call::Create(name(rng), bits(rng)),
        1 => Call::CreateNew(name(rng), bits(rng)),
        2 | 3 => Call::Mkdir(name(rng), bits(rng)),
        4 | 5 => Call::Rmdir(name(rng)),
        6 | 7 => Call::Unlink(name(rng)),
        8 => Call::Symlink(name(rng), name(rng)),
        9 => Call::Link(name(rng), name(rng)),
        10 | 11 => Call::Rename(name(rng), name(rng)),
        12 => Call::RenameNew(name(rng), name(rng)),
        13 => Call::Exchange(name(rng), name(rng)),
        // One in a hundred: it is known to differ, and ends the sequence.
        14 if rng.one_in(8) => Call::RenameWhiteout(name(rng), name(rng)),
        14 => Call::TmpfileLink(name(rng), name(rng)),
        _ => {
            let kind = rng.pick(&['p', 's', 'b', 'c', 'f'], 'p');
            // Character device 0:0 is a whiteout: the kernel's overlay makes none (OVL-130).
            let device = match kind {
                'b' => rng.pick(&[0, 0x103], 0),
                'c' => 0x103,
                _ => 0,
            };
            Call::Mknod(name(rng), kind, device)
        }
    }
}

fn draw_data(rng: &mut Rng) -> Call {
    let offset = rng.pick(&[0, 3, 5000], 0);
    match rng.below(9) {
        0 | 1 => Call::Write(name(rng), offset, rng.pick(&["w", "longer text"], "w")),
        2 => Call::Append(name(rng), "+"),
        3 => Call::OpenTruncate(name(rng)),
        4 => Call::Truncate(name(rng), rng.pick(&[0, 2, 9000], 0)),
        5 => Call::Fallocate(name(rng), FallocateFlags::empty(), offset, 4096),
        6 => {
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Call::Fallocate(name(rng), punch, 0, 4096)
        }
        7 => Call::CopyRange(name(rng), name(rng)),
        _ => Call::Fsync(name(rng)),
    }
}

/// An access ACL: owner rw-, user 1000 rwx, group r--, mask rwx, other ---.
const ACL: &[u8] = &[
    2, 0, 0, 0, //
    1, 0, 6, 0, 255, 255, 255, 255, //
    2, 0, 7, 0, 232, 3, 0, 0, //
    4, 0, 4, 0, 255, 255, 255, 255, //
    16, 0, 7, 0, 255, 255, 255, 255, //
    32, 0, 0, 0, 255, 255, 255, 255,
];

/// A capability: `cap_net_raw` permitted and effective, revision 2.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

const XATTRS: &[(&str, &[u8])] = &[
    ("user.note", b"text"),
    ("user.empty", b""),
    ("trusted.note", b"secret"),
    ("trusted.overlay.opaque", b"y"),
    ("trusted.overlay.foo", b"nested"),
    ("user.overlay.bar", b"plain"),
    ("system.posix_acl_access", ACL),
    ("system.posix_acl_default", ACL),
    ("security.capability", CAPABILITY),
    ("bad", b"no namespace"),
];

fn draw_attribute(rng: &mut Rng) -> Call {
    let (attr, value) = rng.pick(XATTRS, ("user.note", b"x"));
    let owner = |rng: &mut Rng| rng.pick(&[None, Some(0), Some(1000)], None);
    match rng.below(8) {
        0 | 1 => Call::Chmod(name(rng), bits(rng)),
        2 | 3 => Call::Chown(name(rng), owner(rng), owner(rng)),
        4 => Call::Utimens(name(rng), 1_200_000_000),
        5 => {
            let flags = rng.pick(
                &[XattrFlags::empty(), XattrFlags::CREATE, XattrFlags::REPLACE],
                XattrFlags::empty(),
            );
            Call::Setxattr(name(rng), attr, value, flags)
        }
        6 => Call::Setxattr(name(rng), attr, value, XattrFlags::empty()),
        _ => Call::Removexattr(name(rng), attr),
    }
}

fn draw_slot(rng: &mut Rng) -> Call {
    let slots = u64::try_from(SLOTS).unwrap_or(1);
    let slot = usize::try_from(rng.below(slots)).unwrap_or(0);
    match rng.below(7) {
        0 => Call::Hold(slot, name(rng)),
        1 => Call::HoldWrite(slot, name(rng)),
        2 => Call::ReadHeld(slot),
        3 => Call::WriteHeld(slot, "held"),
        4 => Call::ChmodHeld(slot, bits(rng)),
        5 => Call::StatHeld(slot),
        _ => Call::Release(slot),
    }
}

fn draw_question(rng: &mut Rng) -> Call {
    let (attr, _) = rng.pick(XATTRS, ("user.note", b"x"));
    match rng.below(8) {
        0 | 1 => Call::Stat(name(rng)),
        2 => Call::Read(name(rng)),
        3 => Call::List(name(rng)),
        4 => Call::Readlink(name(rng)),
        5 => Call::Access(name(rng), rng.pick(&[1, 2, 4, 6], 4)),
        6 => Call::Getxattr(name(rng), attr),
        _ if rng.one_in(2) => Call::Listxattr(name(rng)),
        _ => Call::SeekHole(name(rng)),
    }
}
