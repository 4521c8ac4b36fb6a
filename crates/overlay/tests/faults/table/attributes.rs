//! Attributes, extended attributes and file flags.

use mica_testkit::{Call, Walk};
use mica_vfs::{Errno, FileFlags, Mode, SetAttr, SetTime, SyncScope, Time};

use super::{Case, Operate, case};

const LAYERS: (&str, &str) = (
    "u='upper'[user.k=v] ud/[user.k=v] m='merged'",
    "f='lower'@4640~3:4[user.k=v,user.l=w] n='two' n2=>n d/@0750~3:4[user.k=v] d/e/a='deep' l->t~3:4 \
     p:fifo~3:4 c:char(1,3) m='hidden' q='quiet'^A",
);

const TIME: Time = Time { secs: 99, nanos: 7 };

fn times(w: Walk<'_>, path: &str) -> Result<(), Errno> {
    w.utimens(path, TIME, TIME)
}

fn everything(w: Walk<'_>, path: &str) -> Result<(), Errno> {
    let at = Some(SetTime::At(TIME));
    let change = SetAttr {
        mode: Some(Mode::new(0o600)),
        uid: Some(8),
        gid: Some(9),
        size: Some(3),
        atime: at,
        mtime: at,
        ..SetAttr::default()
    };
    w.set_attr(path, &change).map(drop)
}

fn no_atime(w: Walk<'_>, path: &str) -> Result<(), Errno> {
    let held = w.hold(path)?;
    let flags = w.fs().file_flags(held.node())?;
    w.fs()
        .set_file_flags(held.node(), flags | FileFlags::NOATIME)
}

fn sync(w: Walk<'_>, path: &str) -> Result<(), Errno> {
    let held = w.hold(path)?;
    w.fs().fsync(held.node(), SyncScope::All)
}

/// A copy is another file than the lower's other names from the next mount on (OVL-32).
const BROKEN: &[Operate] = &[|w| w.write_at("n", 0, b"")];
/// What is cut off is not copied (OVL-21): the copy is short before it gets its new length.
const CUT: &[Operate] = &[|w| w.truncate("f", 3)];

pub(super) const ATTRIBUTES: &[&[Case]] = &[&[
    case(Call::SetAttr, "chmod a lower file", LAYERS, |w| {
        w.chmod("f", 0o600)
    }),
    case(Call::SetAttr, "chmod a file with flags", LAYERS, |w| {
        w.chmod("q", 0o600)
    }),
    case(Call::SetAttr, "chmod an upper file", LAYERS, |w| {
        w.chmod("u", 0o600)
    }),
    case(Call::SetAttr, "chmod a merged file", LAYERS, |w| {
        w.chmod("m", 0o600)
    }),
    case(Call::SetAttr, "chmod deep", LAYERS, |w| {
        w.chmod("d/e/a", 0o600)
    }),
    case(Call::SetAttr, "chmod a lower directory", LAYERS, |w| {
        w.chmod("d", 0o700)
    }),
    case(Call::SetAttr, "chmod a file with two names", LAYERS, |w| {
        w.chmod("n", 0o600)
    })
    .or(BROKEN),
    case(Call::SetAttr, "chmod a fifo", LAYERS, |w| {
        w.chmod("p", 0o600)
    }),
    case(Call::SetAttr, "chmod a device", LAYERS, |w| {
        w.chmod("c", 0o600)
    }),
    case(Call::SetAttr, "chown a lower file", LAYERS, |w| {
        w.chown("f", 8, 9)
    }),
    case(Call::SetAttr, "chown a directory", LAYERS, |w| {
        w.chown("d", 8, 9)
    }),
    case(Call::SetAttr, "chown a symlink", LAYERS, |w| {
        w.chown("l", 8, 9)
    }),
    case(Call::SetAttr, "utimens of a lower file", LAYERS, |w| {
        times(w, "f")
    }),
    case(Call::SetAttr, "utimens of a symlink", LAYERS, |w| {
        times(w, "l")
    }),
    case(Call::SetAttr, "truncate a lower file", LAYERS, |w| {
        w.truncate("f", 2)
    }),
    case(
        Call::SetAttr,
        "truncate a lower file to nothing",
        LAYERS,
        |w| w.truncate("f", 0),
    ),
    case(
        Call::SetAttr,
        "truncate a lower file to more",
        LAYERS,
        |w| w.truncate("f", 9000),
    ),
    case(Call::SetAttr, "truncate an upper file", LAYERS, |w| {
        w.truncate("u", 2)
    }),
    case(Call::SetAttr, "set all attributes at once", LAYERS, |w| {
        everything(w, "f")
    })
    .or(CUT),
    case(
        Call::SetXattr,
        "set an attribute of a lower file",
        LAYERS,
        |w| w.setxattr("f", "user.n", b"v"),
    ),
    case(
        Call::SetXattr,
        "set an attribute of an upper file",
        LAYERS,
        |w| w.setxattr("u", "user.k", b"w"),
    ),
    case(
        Call::SetXattr,
        "set an attribute of a directory",
        LAYERS,
        |w| w.setxattr("d", "user.n", b"v"),
    ),
    case(Call::SetXattr, "set an attribute deep", LAYERS, |w| {
        w.setxattr("d/e/a", "user.n", b"v")
    }),
    case(
        Call::RemoveXattr,
        "remove an attribute of a lower file",
        LAYERS,
        |w| w.removexattr("f", "user.k"),
    ),
    case(
        Call::RemoveXattr,
        "remove an attribute of an upper file",
        LAYERS,
        |w| w.removexattr("u", "user.k"),
    ),
    case(
        Call::RemoveXattr,
        "remove an attribute of a directory",
        LAYERS,
        |w| w.removexattr("d", "user.k"),
    ),
    case(
        Call::SetFileFlags,
        "set the flags of a lower file",
        LAYERS,
        |w| no_atime(w, "f"),
    ),
    case(
        Call::SetFileFlags,
        "set the flags of an upper file",
        LAYERS,
        |w| no_atime(w, "u"),
    ),
    case(Call::Fsync, "fsync an upper file", LAYERS, |w| sync(w, "u")),
    case(Call::Fsync, "fsync an upper directory", LAYERS, |w| {
        sync(w, "ud")
    }),
    case(Call::Fsync, "fsync a copied file", LAYERS, |w| {
        w.chmod("f", 0o4640)?;
        sync(w, "f")
    }),
]];
