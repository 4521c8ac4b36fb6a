//! OVL-120 to OVL-122: immutable and append-only objects, in a lower and in the upper.

use mica_overlay::CopyUpStep;
use mica_testkit::{Fault, Medium, Mounted, Stack, Walk};
use mica_vfs::{
    Access, Errno, FallocateMode, FileFlags, Filesystem, KillPriv, Mode, NodeId, Protection, Rdev,
    RenameFlags, SetAttr, SetTime,
};

const REST: &str = "d/sub/ d/in='1' plain='1'";

/// Sets flags through a filesystem.
fn set_flags(walk: Walk<'_>, path: &str, flags: FileFlags) -> Result<(), Errno> {
    walk.fs().set_file_flags(walk.hold(path)?.node(), flags)
}

fn flags(walk: Walk<'_>, path: &str) -> Result<FileFlags, Errno> {
    walk.fs().file_flags(walk.hold(path)?.node())
}

/// Mounts a stack in memory, where flags can be removed again by anybody. In its lower the file `f` and the directory `d`
/// have `flags`, in letters.
fn mounted(flags: &str) -> Mounted {
    let lower = format!("f='lower'{flags} d/{flags} {REST}");
    Stack::new()
        .upper("")
        .lower(lower.as_str())
        .mount(Medium::Memory)
}

fn held<T>(
    walk: Walk<'_>,
    path: &str,
    call: impl FnOnce(&dyn Filesystem, NodeId) -> Result<T, Errno>,
) -> Result<(), Errno> {
    call(walk.fs(), walk.hold(path)?.node()).map(drop)
}

fn times(atime: Option<SetTime>, mtime: Option<SetTime>) -> SetAttr {
    SetAttr {
        atime,
        mtime,
        ..SetAttr::default()
    }
}

const NOW: Option<SetTime> = Some(SetTime::Now);

type Operate = fn(Walk<'_>) -> Result<(), Errno>;

type Deed = (&'static str, Operate);

/// What is refused for an append-only object and for an immutable one, and what for the latter alone.
///
/// Seen on the kernel's overlayfs; `the_table_of_refusals_is_the_kernels` in crates/cli/tests does it beside it.
const REFUSED_BY_BOTH: &[Deed] = &[
    ("write in the middle", |w| w.write_at("f", 1, b"x")),
    ("write behind the end", |w| w.write_at("f", 9, b"x")),
    ("truncate", |w| w.truncate("f", 1)),
    ("chmod", |w| w.chmod("f", 0o600)),
    ("chown", |w| w.chown("f", 1, 1)),
    ("chmod d", |w| w.chmod("d", 0o700)),
    ("set times", |w| {
        w.set_attr("f", &times(Some(SetTime::At(Default::default())), NOW))
            .map(drop)
    }),
    ("set one time to now", |w| {
        w.set_attr("f", &times(None, NOW)).map(drop)
    }),
    ("setxattr", |w| w.setxattr("f", "user.k", b"v")),
    ("removexattr", |w| w.removexattr("f", "user.k")),
    ("link", |w| w.link("f", "new")),
    ("unlink", |w| w.unlink("f")),
    ("rename", |w| w.rename("f", "new")),
    ("rename over", |w| w.rename("plain", "f")),
    ("exchange", |w| {
        w.rename_with("plain", "f", RenameFlags::EXCHANGE)
    }),
    ("rmdir", |w| w.rmdir("d")),
    ("rmdir as a file", |w| w.unlink("d")),
    ("unlink in d", |w| w.unlink("d/in")),
    ("rmdir in d", |w| w.rmdir("d/sub")),
    ("rename out of d", |w| w.rename("d/in", "new")),
    ("rename d", |w| w.rename("d", "new")),
    ("punch", |w| {
        let mode = FallocateMode::PUNCH_HOLE | FallocateMode::KEEP_SIZE;
        held(w, "f", |fs, node| fs.fallocate(node, mode, 0, 1))
    }),
    ("copy a range over it", |w| {
        let from = w.hold("plain")?;
        held(w, "f", |fs, node| fs.copy_range(from.node(), 0, node, 0, 1))
    }),
    ("the host's file", |w| {
        held(w, "f", |fs, node| fs.host_file(node, Access::Write))
    }),
];

const REFUSED_BY_IMMUTABLE: &[Deed] = &[
    ("append", |w| w.write_at("f", 5, b"x")),
    ("touch", |w| w.set_attr("f", &times(NOW, NOW)).map(drop)),
    ("allocate", |w| {
        held(w, "f", |fs, node| {
            fs.fallocate(node, FallocateMode::KEEP_SIZE, 0, 9)
        })
    }),
    ("create in d", |w| w.create("d/new", 0o644)),
    ("mkdir in d", |w| w.mkdir("d/newdir")),
    ("symlink in d", |w| w.symlink("x", "d/l")),
    ("mknod in d", |w| {
        let (kind, rdev) = (mica_vfs::FileType::Fifo, Rdev::default());
        w.mknod("d/p", kind, 0o600, rdev)
    }),
    ("tmpfile in d", |w| w.tmpfile("d", 0o600).map(drop)),
    ("link into d", |w| w.link("plain", "d/plain")),
    ("rename into d", |w| w.rename("plain", "d/plain2")),
];

/// What neither refuses, or refuses for another reason first.
const NOT_REFUSED: &[(&str, Operate, Result<(), Errno>)] = &[
    ("read", |w| w.read("f").map(drop), Ok(())),
    (
        "create what is there",
        |w| w.create("d/in", 0o644),
        Err(Errno::EXIST),
    ),
    (
        "mkdir what is there",
        |w| w.mkdir("d/sub"),
        Err(Errno::EXIST),
    ),
    (
        "link over a name",
        |w| w.link("f", "plain"),
        Err(Errno::EXIST),
    ),
    (
        "unlink what is not there",
        |w| w.unlink("d/none"),
        Err(Errno::NOENT),
    ),
    ("rename to itself", |w| w.rename("f", "f"), Ok(())),
    ("create below", |w| w.create("d/sub/x", 0o644), Ok(())),
    ("write in d", |w| w.write_at("d/in", 0, b"x"), Ok(())),
];

#[test]
fn ovl_121_what_is_protected_is_not_changed() {
    for in_lower in [true, false] {
        for (letter, flag) in [("^a", FileFlags::APPEND), ("^i", FileFlags::IMMUTABLE)] {
            let mounted = if in_lower {
                mounted(letter)
            } else {
                mounted("")
            };
            let walk = mounted.walk();
            if !in_lower {
                set_flags(walk, "f", flag).unwrap();
                set_flags(walk, "d", flag).unwrap();
            }
            let both = REFUSED_BY_BOTH.iter();
            let immutable = REFUSED_BY_IMMUTABLE
                .iter()
                .filter(|_| flag == FileFlags::IMMUTABLE);
            for (name, deed) in both.chain(immutable) {
                assert_eq!(deed(walk), Err(Errno::PERM), "{name} of {flag:?}");
            }
            if in_lower {
                let copied = mounted.overlay().stats().copy_ups;
                assert_eq!(copied, 0, "what was refused copied something up");
            }
            for (name, deed, expected) in NOT_REFUSED {
                assert_eq!(deed(walk), *expected, "{name} of {flag:?}");
            }
            if flag == FileFlags::APPEND {
                for (name, deed) in REFUSED_BY_IMMUTABLE {
                    assert_eq!(deed(walk), Ok(()), "{name} of {flag:?}");
                }
            }
            // Who may take the flags away may then do everything.
            for path in ["f", "d"] {
                set_flags(walk, path, FileFlags::empty()).unwrap();
            }
            walk.chmod("f", 0o600).unwrap();
            walk.unlink("d/in").unwrap();
            mounted.finish();
        }
    }
}

#[test]
fn ovl_120_flags_of_a_lower_are_kept_by_the_copy_and_over_a_remount() {
    let both = FileFlags::PROTECTING;
    let mut mounted = mounted("^aA");
    let walk = mounted.walk();
    walk.write_at("f", 5, b" more").unwrap();
    walk.create("d/new", 0o644).unwrap();
    let upper = mounted.walk_upper();
    for path in ["f", "d"] {
        let kept = upper.getxattr(path, "trusted.overlay.protattr");
        assert_eq!(kept.as_deref(), Ok(&b"a"[..]));
        assert_eq!(flags(upper, path), Ok(FileFlags::NOATIME));
        let shown = FileFlags::APPEND | FileFlags::NOATIME;
        assert_eq!(flags(walk, path), Ok(shown));
        let protection = walk.stat(path).unwrap().protection;
        assert_eq!(protection, Protection::APPEND);
    }
    set_flags(walk, "f", both).unwrap();
    mounted.remount();
    let (walk, upper) = (mounted.walk(), mounted.walk_upper());
    assert_eq!(flags(walk, "f"), Ok(both));
    assert_eq!(walk.unlink("f"), Err(Errno::PERM));
    assert_eq!(walk.unlink("d/new"), Err(Errno::PERM));
    let kept = upper.getxattr("f", "trusted.overlay.protattr");
    assert_eq!(kept.as_deref(), Ok(&b"ai"[..]));
    set_flags(walk, "f", FileFlags::empty()).unwrap();
    let kept = upper.getxattr("f", "trusted.overlay.protattr");
    assert_eq!(kept, Err(Errno::NODATA));
    walk.unlink("f").unwrap();
    mounted.finish();
}

#[test]
fn ovl_120_a_malformed_protattr_protects_from_nothing() {
    let upper = "x='1'[trusted.overlay.protattr=x] ax='1'[trusted.overlay.protattr=ax] \
                 i='1'[trusted.overlay.protattr=i] d/[trusted.overlay.protattr=i]";
    for medium in Medium::all() {
        let mounted = Stack::new().upper(upper).lower("d/a='1'").mount(medium);
        let walk = mounted.walk();
        walk.unlink("x").unwrap();
        walk.unlink("ax").unwrap();
        assert_eq!(walk.unlink("i"), Err(Errno::PERM));
        assert_eq!(walk.unlink("d/a"), Err(Errno::PERM));
        mounted.finish();
    }
}

#[test]
fn ovl_121_the_protection_of_the_upper_object_counts_and_not_that_of_what_it_hides() {
    let mounted = Stack::new()
        .upper("f='upper' d/new='1'")
        .lower("f='lower'^i d/^i d/in='1'")
        .mount(Medium::Memory);
    mounted.walk().write_at("f", 0, b"U").unwrap();
    mounted.walk().unlink("d/in").unwrap();
    mounted.walk().unlink("f").unwrap();
    mounted.finish();
}

#[test]
fn ovl_120_a_copy_up_that_cannot_keep_the_flags_is_undone() {
    for fault in [Fault::Fail(Errno::NOSPC), Fault::Fail(Errno::IO)] {
        for nth in 1..=CopyUpStep::ALL.len() {
            let mut mounted = mounted("^aA");
            let faults = mounted.with_faults();
            faults.arm(nth, fault);
            let written = mounted.walk().write_at("f", 5, b"+");
            faults.heal();
            let shown = mounted.walk().read_text("f").unwrap();
            match written {
                Ok(()) => assert_eq!(shown, "lower+"),
                Err(_) => assert_eq!(shown, "lower"),
            }
            let unlinked = mounted.walk().unlink("f");
            assert_eq!(unlinked, Err(Errno::PERM), "{nth}");
            mounted.remount();
            let unlinked = mounted.walk().unlink("f");
            assert_eq!(unlinked, Err(Errno::PERM), "{nth} after a remount");
            mounted.finish();
        }
    }
}

#[test]
fn ovl_120_flags_that_cannot_be_set_are_what_they_were() {
    let before = FileFlags::IMMUTABLE;
    for nth in 1..=4 {
        let mut mounted = mounted("");
        set_flags(mounted.walk(), "f", before).unwrap();
        let faults = mounted.with_faults();
        faults.arm(nth, Fault::Fail(Errno::NOSPC));
        let changed = FileFlags::APPEND | FileFlags::NOATIME;
        let set = set_flags(mounted.walk(), "f", changed);
        faults.heal();
        let expected = if set.is_ok() { changed } else { before };
        assert_eq!(flags(mounted.walk(), "f"), Ok(expected), "{nth}");
        mounted.remount();
        assert_eq!(flags(mounted.walk(), "f"), Ok(expected), "{nth}");
        mounted.finish();
    }
}

/// An append is one if it begins where the file ends, whatever the caller believes that to be.
#[test]
fn ovl_122_of_what_is_append_only_the_next_byte_can_be_written() {
    let mounted = mounted("^a");
    let held = mounted.walk().hold("f").unwrap();
    let write = |at, data: &[u8]| {
        let fs = &**mounted.overlay();
        fs.write(held.node(), at, data, KillPriv::Keep)
    };
    assert_eq!(write(5, b"one"), Ok(3));
    assert_eq!(write(5, b"two"), Err(Errno::PERM));
    assert_eq!(write(9, b"two"), Err(Errno::PERM));
    assert_eq!(write(8, b"two"), Ok(3));
    let text = mounted.walk().read_text("f");
    assert_eq!(text.as_deref(), Ok("loweronetwo"));
    let made = mounted.walk().create("d/mine", 0o600);
    assert_eq!(made, Ok(()));
    let mode = mounted.walk().stat("d/mine").unwrap().mode;
    assert_eq!(mode, Mode::new(0o600));
    drop(held);
    mounted.finish();
}
