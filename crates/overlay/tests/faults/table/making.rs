//! New objects and new names.

use mica_testkit::{Call, Walk};
use mica_vfs::{Errno, FileType, Rdev};

use super::{Case, Operate, case};

/// Whiteouts where something new may come: over a file, over a directory, in a directory that hands its group down.
const LAYERS: (&str, &str) = (
    "u='u' h='two' h2=>h ud/ w:whiteout wd:whiteout g/@2775~0:7 g/w:whiteout",
    "f='lower' n='two' n2=>n w='1' wd/x='1' g/w='1' d/a='1' p/q/r='deep' l->t",
);

fn fifo(w: Walk<'_>, path: &str) -> Result<(), Errno> {
    w.mknod(path, FileType::Fifo, 0o600, Rdev::default())
}

/// The directories of a new deep object stay copied up; that shows nowhere.
macro_rules! everywhere {
    ($call:expr, $what:literal, $make:expr) => {
        [
            case(
                $call,
                concat!($what, " in an upper directory"),
                LAYERS,
                |w| ($make)(w, "ud/new"),
            ),
            case(
                $call,
                concat!($what, " in a lower directory"),
                LAYERS,
                |w| ($make)(w, "d/new"),
            ),
            case($call, concat!($what, " deep"), LAYERS, |w| {
                ($make)(w, "p/q/new")
            }),
            case($call, concat!($what, " over a whiteout"), LAYERS, |w| {
                ($make)(w, "w")
            }),
            case(
                $call,
                concat!($what, " over a whiteout of a directory"),
                LAYERS,
                |w| ($make)(w, "wd"),
            ),
            case(
                $call,
                concat!($what, " over a whiteout, with a group to inherit"),
                LAYERS,
                |w| ($make)(w, "g/w"),
            ),
        ]
    };
}

const CREATE: [Case; 6] = everywhere!(Call::Create, "create", |w: Walk<'_>, p| w.create(p, 0o640));
const MKDIR: [Case; 6] = everywhere!(Call::Mkdir, "mkdir", |w: Walk<'_>, p| w.mkdir(p));
const MKNOD: [Case; 6] = everywhere!(Call::Mknod, "mknod", fifo);
const MKNOD_WHITEOUT: [Case; 6] = everywhere!(Call::Mknod, "mknod 0:0", |w: Walk<'_>, p| w.mknod(
    p,
    FileType::CharDevice,
    0o600,
    Rdev::WHITEOUT
));
const SYMLINK: [Case; 6] =
    everywhere!(Call::Symlink, "symlink", |w: Walk<'_>, p| w.symlink("t", p));
const LINK_UPPER: [Case; 6] = everywhere!(Call::Link, "link an upper file", |w: Walk<'_>, p| w
    .link("u", p));
const LINK_LOWER: [Case; 6] = everywhere!(Call::Link, "link a lower file", |w: Walk<'_>, p| w
    .link("f", p));

/// A copy is another file than the lower's other names from the next mount on (OVL-32).
const BROKEN: &[Operate] = &[|w| w.write_at("n", 0, b"")];

/// `u::rwx,g::r-x,o::---,m::r-x,u:7:r--`, as the kernel stores it.
const ACL: &[u8] =
    b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x07\0\0\0\x04\0\x05\0\xff\xff\xff\xff\
    \x10\0\x05\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";

fn hand_down(w: Walk<'_>) -> Result<(), Errno> {
    w.setxattr("g", "system.posix_acl_default", ACL)
}

const REST: [Case; 7] = [
    // Two calls; between them is the ACL.
    case(
        Call::Create,
        "create over a whiteout, with an ACL to inherit",
        LAYERS,
        |w| {
            hand_down(w)?;
            w.create("g/w", 0o666)
        },
    )
    .or(&[hand_down]),
    case(
        Call::Mkdir,
        "mkdir over a whiteout, with an ACL to inherit",
        LAYERS,
        |w| {
            hand_down(w)?;
            w.mkdir("g/w")
        },
    )
    .or(&[hand_down]),
    case(Call::Link, "link a lower symlink", LAYERS, |w| {
        w.link("l", "d/l")
    }),
    case(
        Call::Link,
        "link an upper file with two names",
        LAYERS,
        |w| w.link("h", "h3"),
    ),
    case(
        Call::Link,
        "link a lower file with two names",
        LAYERS,
        |w| w.link("n", "n3"),
    )
    .or(BROKEN),
    case(Call::Tmpfile, "tmpfile in a lower directory", LAYERS, |w| {
        w.tmpfile("d", 0o600).map(drop)
    }),
    case(
        Call::Tmpfile,
        "tmpfile in an upper directory",
        LAYERS,
        |w| w.tmpfile("ud", 0o600).map(drop),
    ),
];

pub(super) const MAKING: &[&[Case]] = &[
    &CREATE,
    &MKDIR,
    &MKNOD,
    &MKNOD_WHITEOUT,
    &SYMLINK,
    &LINK_UPPER,
    &LINK_LOWER,
    &REST,
];
