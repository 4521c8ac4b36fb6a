//! Files with several names under an index (OVL-111, OVL-112).

use mica_testkit::{Call, Walk};
use mica_vfs::Errno;

use super::{Case, Operate, case};

const LAYERS: (&str, &str) = ("u='upper'", "n='two' n2=>n d/n3=>n f='lower'");

/// Copied up, and another name given to the upper.
fn copied(w: Walk<'_>) -> Result<(), Errno> {
    w.chmod("n", 0o600)
}

/// The file is copied up before it loses or gets a name.
const COPIED: &[Operate] = &[copied];

const NAMES: [Case; 7] = [
    case(
        Call::SetAttr,
        "chmod one name of an indexed file",
        LAYERS,
        copied,
    )
    .with_index(),
    case(
        Call::SetAttr,
        "chmod two names of an indexed file",
        LAYERS,
        |w| {
            w.chmod("n", 0o600)?;
            w.chmod("d/n3", 0o600)
        },
    )
    .with_index()
    .or(COPIED),
    case(Call::Link, "link an indexed file", LAYERS, |w| {
        w.link("n", "d/new")
    })
    .with_index(),
    case(
        Call::Unlink,
        "unlink one name of an indexed file",
        LAYERS,
        |w| w.unlink("n2"),
    )
    .with_index(),
    case(
        Call::Unlink,
        "unlink all names of an indexed file",
        LAYERS,
        |w| {
            w.unlink("n")?;
            w.unlink("n2")?;
            w.unlink("d/n3")
        },
    )
    .with_index()
    .or(&[
        |w| w.unlink("n"),
        |w| {
            w.unlink("n")?;
            w.unlink("n2")
        },
    ]),
    case(Call::Rename, "rename an indexed file", LAYERS, |w| {
        w.rename("n", "d/new")
    })
    .with_index(),
    case(Call::Rename, "rename over an indexed file", LAYERS, |w| {
        w.rename("u", "n")
    })
    .with_index(),
];

/// All of them.
pub(super) const INDEXED: &[&[Case]] = &[&NAMES];
