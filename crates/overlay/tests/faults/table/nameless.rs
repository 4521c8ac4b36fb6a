//! What loses its last name, or never had one, while somebody knows it (OVL-60 to OVL-64).

use mica_testkit::Call;

use super::{Case, case};

const LAYERS: (&str, &str) = (
    "u='u' ud/x='u' c='copy' h='two' h2=>h empty/ both/ w:whiteout",
    "f='lower' c='1' both/ d/a='1' w='1'",
);

pub(super) const NAMELESS: &[&[Case]] = &[&[
    case(Call::Unlink, "unlink a held upper file", LAYERS, |w| {
        let _held = w.hold("u")?;
        w.unlink("u")
    }),
    case(Call::Unlink, "unlink a held merged file", LAYERS, |w| {
        let _held = w.hold("c")?;
        w.unlink("c")
    }),
    case(
        Call::Unlink,
        "unlink both names of a held file",
        LAYERS,
        |w| {
            let _held = w.hold("h")?;
            w.unlink("h")?;
            w.unlink("h2")
        },
    )
    .or(&[|w| w.unlink("h")]),
    case(Call::Write, "change a removed lower file", LAYERS, |w| {
        let held = w.hold("f")?;
        w.unlink("f")?;
        w.write_held(&held, b"changed")
    })
    .or(&[|w| w.unlink("f")]),
    case(Call::Rename, "replace a held upper file", LAYERS, |w| {
        let _held = w.hold("u")?;
        w.rename("ud/x", "u")
    }),
    case(
        Call::Rename,
        "replace a held upper file, leaving a whiteout",
        LAYERS,
        |w| {
            let _held = w.hold("u")?;
            w.rename("f", "u")
        },
    ),
    case(Call::Tmpfile, "make a file without a name", LAYERS, |w| {
        w.tmpfile("d", 0o600).map(drop)
    }),
    case(Call::Link, "name a file without a name", LAYERS, |w| {
        let held = w.tmpfile("d", 0o600)?;
        w.link_held(&held, "d/new")
    }),
    case(
        Call::Link,
        "name a file without a name over a whiteout",
        LAYERS,
        |w| {
            let held = w.tmpfile("d", 0o600)?;
            w.link_held(&held, "w")
        },
    ),
    case(Call::Rmdir, "rmdir a held merged directory", LAYERS, |w| {
        let _held = w.hold("both")?;
        w.rmdir("both")
    }),
    case(Call::Rmdir, "rmdir a held upper directory", LAYERS, |w| {
        let _held = w.hold("empty")?;
        w.rmdir("empty")
    }),
]];
