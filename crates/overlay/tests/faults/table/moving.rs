//! Renames of directories that a lower has a part in: by a redirect (OVL-90).

use mica_testkit::{Call, Walk};
use mica_vfs::{Errno, RenameFlags};

use super::{Case, Operate, case};

const LAYERS: (&str, &str) = (
    "m/u='u' both/ w:whiteout up/x='u' swept/z:whiteout far/u='u' f2='u'",
    "l/x='1' l/deep/y='1' m/x='1' both/ empty/ swept/z='1' w/z='1' p/q/r/s='1' far/x='1' f='lower' f2='hidden'",
);

fn exchange(w: Walk<'_>, one: &str, other: &str) -> Result<(), Errno> {
    w.rename_with(one, other, RenameFlags::EXCHANGE)
}

const FIRST: &[Operate] = &[|w| w.rename("m", "a")];

const TO_NOTHING: [Case; 9] = [
    case(Call::Rename, "rename a lower directory", LAYERS, |w| {
        w.rename("l", "new")
    }),
    case(Call::Rename, "rename a merged directory", LAYERS, |w| {
        w.rename("m", "new")
    }),
    case(
        Call::Rename,
        "rename a lower directory into another one",
        LAYERS,
        |w| w.rename("l", "p/l"),
    ),
    case(
        Call::Rename,
        "rename a merged directory into a lower one",
        LAYERS,
        |w| w.rename("m", "l/deep/m"),
    ),
    case(
        Call::Rename,
        "rename a lower directory from deep",
        LAYERS,
        |w| w.rename("p/q/r", "up/r"),
    ),
    case(
        Call::Rename,
        "rename a directory there and back",
        LAYERS,
        |w| {
            w.rename("m", "a")?;
            w.rename("a", "m")
        },
    )
    .or(FIRST),
    case(
        Call::Rename,
        "rename a directory, then into another one",
        LAYERS,
        |w| {
            w.rename("m", "a")?;
            w.rename("a", "p/a")
        },
    )
    .or(FIRST),
    case(
        Call::Rename,
        "rename what is below a renamed directory",
        LAYERS,
        |w| {
            w.rename("l", "b")?;
            w.rename("b/deep", "deep")
        },
    )
    .or(&[|w| w.rename("l", "b")]),
    case(
        Call::Mkdir,
        "make a directory in a renamed one",
        LAYERS,
        |w| {
            w.rename("m", "a")?;
            w.mkdir("a/new")
        },
    )
    .or(FIRST),
];

const OVER_SOMETHING: [Case; 6] = [
    case(
        Call::Rename,
        "rename a merged directory over a whiteout",
        LAYERS,
        |w| w.rename("m", "w"),
    ),
    case(
        Call::Rename,
        "rename a lower directory over a whiteout",
        LAYERS,
        |w| w.rename("l", "w"),
    ),
    case(
        Call::Rename,
        "rename a merged directory over a merged one",
        LAYERS,
        |w| w.rename("m", "both"),
    ),
    case(
        Call::Rename,
        "rename a merged directory over a lower one",
        LAYERS,
        |w| w.rename("m", "empty"),
    ),
    case(
        Call::Rename,
        "rename a lower directory over a lower one",
        LAYERS,
        |w| w.rename("l", "empty"),
    ),
    case(
        Call::Rename,
        "rename a merged directory over a swept one",
        LAYERS,
        |w| w.rename("m", "swept"),
    ),
];

const EXCHANGES: [Case; 6] = [
    case(
        Call::Rename,
        "exchange two lower directories",
        LAYERS,
        |w| exchange(w, "l", "p"),
    ),
    case(
        Call::Rename,
        "exchange two merged directories",
        LAYERS,
        |w| exchange(w, "m", "far"),
    ),
    case(
        Call::Rename,
        "exchange a merged and an upper directory",
        LAYERS,
        |w| exchange(w, "m", "up"),
    ),
    case(
        Call::Rename,
        "exchange a lower directory and a file",
        LAYERS,
        |w| exchange(w, "l", "f"),
    ),
    case(
        Call::Rename,
        "exchange directories of two places",
        LAYERS,
        |w| exchange(w, "m", "p/q"),
    ),
    case(
        Call::Rename,
        "exchange a merged directory and a file elsewhere",
        LAYERS,
        |w| exchange(w, "p/q/r", "f2"),
    ),
];

pub(super) const MOVING: &[&[Case]] = &[&TO_NOTHING, &OVER_SOMETHING, &EXCHANGES];
