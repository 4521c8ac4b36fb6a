//! Renames of directories that a lower has a part in: by a redirect (OVL-90).

use mica_testkit::{Call, Walk};
use mica_vfs::{Errno, RenameFlags};

use super::{Case, Operate, case};

const LAYERS: (&str, &str) = (
    "m/u='u' both/ w:whiteout up/x='u' swept/z:whiteout far/u='u' f2='u'",
    "l/x='1' l/deep/y='1' m/x='1' both/ empty/ swept/z='1' w/z='1' p/q/r/s='1' far/x='1' f='lower' f2='hidden'",
);

/// A case of a rename in these layers.
const fn moved(name: &'static str, run: Operate) -> Case {
    case(Call::Rename, name, LAYERS, run)
}

fn exchange(w: Walk<'_>, one: &str, other: &str) -> Result<(), Errno> {
    w.rename_with(one, other, RenameFlags::EXCHANGE)
}

const FIRST: &[Operate] = &[|w| w.rename("m", "a")];

const TO_NOTHING: [Case; 9] = [
    moved("rename a lower directory", |w| w.rename("l", "new")),
    moved("rename a merged directory", |w| w.rename("m", "new")),
    moved("rename a lower directory into another one", |w| {
        w.rename("l", "p/l")
    }),
    moved("rename a merged directory into a lower one", |w| {
        w.rename("m", "l/deep/m")
    }),
    moved("rename a lower directory from deep", |w| {
        w.rename("p/q/r", "up/r")
    }),
    moved("rename a directory there and back", |w| {
        w.rename("m", "a")?;
        w.rename("a", "m")
    })
    .or(FIRST),
    moved("rename a directory, then into another one", |w| {
        w.rename("m", "a")?;
        w.rename("a", "p/a")
    })
    .or(FIRST),
    moved("rename what is below a renamed directory", |w| {
        w.rename("l", "b")?;
        w.rename("b/deep", "deep")
    })
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
    moved("rename a merged directory over a whiteout", |w| {
        w.rename("m", "w")
    }),
    moved("rename a lower directory over a whiteout", |w| {
        w.rename("l", "w")
    }),
    moved("rename a merged directory over a merged one", |w| {
        w.rename("m", "both")
    }),
    moved("rename a merged directory over a lower one", |w| {
        w.rename("m", "empty")
    }),
    moved("rename a lower directory over a lower one", |w| {
        w.rename("l", "empty")
    }),
    moved("rename a merged directory over a swept one", |w| {
        w.rename("m", "swept")
    }),
];

const EXCHANGES: [Case; 6] = [
    moved("exchange two lower directories", |w| exchange(w, "l", "p")),
    moved("exchange two merged directories", |w| {
        exchange(w, "m", "far")
    }),
    moved("exchange a merged and an upper directory", |w| {
        exchange(w, "m", "up")
    }),
    moved("exchange a lower directory and a file", |w| {
        exchange(w, "l", "f")
    }),
    moved("exchange directories of two places", |w| {
        exchange(w, "m", "p/q")
    }),
    moved("exchange a merged directory and a file elsewhere", |w| {
        exchange(w, "p/q/r", "f2")
    }),
];

pub(super) const MOVING: &[&[Case]] = &[&TO_NOTHING, &OVER_SOMETHING, &EXCHANGES];
