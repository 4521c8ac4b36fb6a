//! Metacopies: metadata that come first, and data that come late (OVL-104 to OVL-106).

use mica_testkit::{Call, Walk};
use mica_vfs::{Errno, FallocateMode, RenameFlags, Time};

use super::{Case, Operate, case};

/// The uppermost three are metacopies already.
const LAYERS: (&str, &str) = (
    "u=hole(10)@0640[trusted.overlay.metacopy=] v=hole(4)[trusted.overlay.metacopy=,trusted.overlay.redirect=/k/v] k/v:whiteout \
     w=hole(4)[trusted.overlay.metacopy=,trusted.overlay.redirect=/w] w2=>w taken='upper'",
    "f='0123456789'@4640~3:4[user.k=v] n='two' n2=>n empty='' d/e/a='deep' u='9876543210' w='lost' hidden='h' k/x='x' k/v='deep'",
);

const TIME: Time = Time { secs: 99, nanos: 7 };

fn allocate(w: Walk<'_>, path: &str) -> Result<(), Errno> {
    let held = w.hold(path)?;
    w.fs().fallocate(held.node(), FallocateMode::empty(), 2, 20)
}

/// A write takes what fits (`Fault::Short`).
const HALF_U: &[Operate] = &[|w| w.write_at("u", 0, b"cha")];
const HALF_V: &[Operate] = &[|w| w.write_at("v", 0, b"ch")];
const HALF_W: &[Operate] = &[|w| w.write_at("w2", 0, b"ch")];
/// A copy is another file than the lower's other names from then on (OVL-32).
const BROKEN: &[Operate] = &[|w| w.write_at("n", 0, b"")];

const METADATA: [Case; 6] = [
    case(
        Call::SetAttr,
        "chmod a lower file without its data",
        LAYERS,
        |w| w.chmod("f", 0o600),
    )
    .of_metadata(),
    case(
        Call::SetAttr,
        "utimens deep without the data",
        LAYERS,
        |w| w.utimens("d/e/a", TIME, TIME),
    )
    .of_metadata(),
    case(
        Call::SetAttr,
        "chown an empty file without its data",
        LAYERS,
        |w| w.chown("empty", 7, 8),
    )
    .of_metadata(),
    case(
        Call::SetAttr,
        "chmod one of two names without the data",
        LAYERS,
        |w| w.chmod("n", 0o600),
    )
    .of_metadata()
    .or(BROKEN),
    case(
        Call::SetXattr,
        "set an attribute without the data",
        LAYERS,
        |w| w.setxattr("f", "user.new", b"v"),
    )
    .of_metadata(),
    case(
        Call::RemoveXattr,
        "remove an attribute without the data",
        LAYERS,
        |w| w.removexattr("f", "user.k"),
    )
    .of_metadata(),
];

const NAMES: [Case; 7] = [
    case(Call::Rename, "rename a metacopy", LAYERS, |w| {
        w.rename("u", "u2")
    })
    .of_metadata(),
    case(
        Call::Rename,
        "rename a lower file as a metacopy",
        LAYERS,
        |w| w.rename("f", "k/f"),
    )
    .of_metadata(),
    case(
        Call::Rename,
        "rename a metacopy over an upper file",
        LAYERS,
        |w| w.rename("u", "taken"),
    )
    .of_metadata(),
    case(Call::Rename, "exchange two metacopies", LAYERS, |w| {
        w.rename_with("u", "k/x", RenameFlags::EXCHANGE)
    })
    .of_metadata(),
    case(Call::Link, "link a metacopy", LAYERS, |w| {
        w.link("u", "k/u")
    })
    .of_metadata(),
    case(Call::Link, "link a lower file as a metacopy", LAYERS, |w| {
        w.link("f", "f2")
    })
    .of_metadata(),
    case(Call::Unlink, "unlink a metacopy", LAYERS, |w| w.unlink("u")).of_metadata(),
];

const LATE: [Case; 6] = [
    case(Call::Write, "write to a metacopy", LAYERS, |w| {
        w.write_at("u", 0, b"changed")
    })
    .of_metadata()
    .or(HALF_U),
    case(Call::Write, "write to a redirected metacopy", LAYERS, |w| {
        w.write_at("v", 0, b"chan")
    })
    .of_metadata()
    .or(HALF_V),
    case(
        Call::Write,
        "write to a metacopy of two names",
        LAYERS,
        |w| w.write_at("w2", 0, b"chan"),
    )
    .of_metadata()
    .or(HALF_W),
    case(Call::SetAttr, CUT, LAYERS, |w| w.truncate("u", 3)).of_metadata(),
    case(Call::SetAttr, "extend a metacopy", LAYERS, |w| {
        w.truncate("u", 30)
    })
    .of_metadata(),
    case(Call::Fallocate, "allocate in a metacopy", LAYERS, |w| {
        allocate(w, "u")
    })
    .of_metadata(),
];

/// While it is cut it is shorter than its data, which the kernel does not mind.
pub(crate) const CUT: &str = "truncate a metacopy";

pub(super) const METACOPIES: &[&[Case]] = &[&METADATA, &NAMES, &LATE];
