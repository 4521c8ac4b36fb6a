//! Renames: what moves, what is in its way, what it leaves.

use mica_testkit::{Call, Walk};
use mica_vfs::{Errno, RenameFlags};

use super::{Case, Operate, case};

const LAYERS: (&str, &str) = (
    "u='u' u2='other' m='merged' m2='merged' h='two' h2=>h ud/x='u' ud2/y='u' empty/ w:whiteout w2:whiteout \
     wd:whiteout md/ both/ swept/z:whiteout ul->t ud/both/",
    "f='lower' f2='second' m='hidden' m2='hidden' n='two' n2=>n l->t w='1' w2='1' wd/x='1' md/y='1' \
     both/ swept/z='1' ld/ p/q/r='deep'",
);

fn exchange(w: Walk<'_>, one: &str, other: &str) -> Result<(), Errno> {
    w.rename_with(one, other, RenameFlags::EXCHANGE)
}

fn noreplace(w: Walk<'_>, from: &str, to: &str) -> Result<(), Errno> {
    w.rename_with(from, to, RenameFlags::NOREPLACE)
}

/// A copy is another file than the lower's other names from the next mount on (OVL-32).
const BROKEN: &[Operate] = &[|w| w.write_at("n", 0, b"")];

const TO_NOTHING: [Case; 9] = [
    case(Call::Rename, "rename a lower file", LAYERS, |w| {
        w.rename("f", "new")
    }),
    case(Call::Rename, "rename an upper file", LAYERS, |w| {
        w.rename("u", "new")
    }),
    case(Call::Rename, "rename a merged file", LAYERS, |w| {
        w.rename("m", "new")
    }),
    case(Call::Rename, "rename a lower symlink", LAYERS, |w| {
        w.rename("l", "ud/l")
    }),
    case(Call::Rename, "rename one of two lower names", LAYERS, |w| {
        w.rename("n", "new")
    })
    .or(BROKEN),
    case(Call::Rename, "rename deep", LAYERS, |w| {
        w.rename("u", "p/q/new")
    }),
    case(Call::Rename, "rename from deep", LAYERS, |w| {
        w.rename("p/q/r", "new")
    }),
    case(Call::Rename, "rename a directory", LAYERS, |w| {
        w.rename("ud", "new")
    }),
    case(
        Call::Rename,
        "rename a directory into a merged one",
        LAYERS,
        |w| w.rename("ud", "md/ud"),
    ),
];

const OVER_WHITEOUT: [Case; 5] = [
    case(
        Call::Rename,
        "rename a lower file over a whiteout",
        LAYERS,
        |w| w.rename("f", "w"),
    ),
    case(
        Call::Rename,
        "rename an upper file over a whiteout",
        LAYERS,
        |w| w.rename("u", "w"),
    ),
    case(
        Call::Rename,
        "rename a merged file over a whiteout",
        LAYERS,
        |w| w.rename("m", "w"),
    ),
    case(
        Call::Rename,
        "rename a directory over a whiteout",
        LAYERS,
        |w| w.rename("ud", "wd"),
    ),
    case(
        Call::Rename,
        "rename a directory over the whiteout of a file",
        LAYERS,
        |w| w.rename("ud", "w2"),
    ),
];

const OVER_SOMETHING: [Case; 12] = [
    case(
        Call::Rename,
        "rename a lower file over a lower one",
        LAYERS,
        |w| w.rename("f", "f2"),
    ),
    case(
        Call::Rename,
        "rename a lower file over an upper one",
        LAYERS,
        |w| w.rename("f", "u"),
    ),
    case(
        Call::Rename,
        "rename an upper file over a lower one",
        LAYERS,
        |w| w.rename("u", "f"),
    ),
    case(
        Call::Rename,
        "rename an upper file over an upper one",
        LAYERS,
        |w| w.rename("u", "u2"),
    ),
    case(
        Call::Rename,
        "rename a merged file over a merged one",
        LAYERS,
        |w| w.rename("m", "m2"),
    ),
    case(Call::Rename, "rename over one of two names", LAYERS, |w| {
        w.rename("u", "h")
    }),
    case(Call::Rename, "rename a symlink over a file", LAYERS, |w| {
        w.rename("ul", "f")
    }),
    case(
        Call::Rename,
        "rename a directory over an upper one",
        LAYERS,
        |w| w.rename("ud", "empty"),
    ),
    case(
        Call::Rename,
        "rename a directory over a merged one",
        LAYERS,
        |w| w.rename("ud", "both"),
    ),
    case(
        Call::Rename,
        "rename a directory over a lower one",
        LAYERS,
        |w| w.rename("ud", "ld"),
    ),
    case(
        Call::Rename,
        "rename a directory over a swept one",
        LAYERS,
        |w| w.rename("ud", "swept"),
    ),
    case(
        Call::Rename,
        "rename a file without replacing",
        LAYERS,
        |w| noreplace(w, "f", "w"),
    ),
];

const EXCHANGES: [Case; 7] = [
    case(
        Call::Rename,
        "exchange an upper and a lower file",
        LAYERS,
        |w| exchange(w, "u", "f"),
    ),
    case(Call::Rename, "exchange two lower files", LAYERS, |w| {
        exchange(w, "f", "f2")
    }),
    case(Call::Rename, "exchange two merged files", LAYERS, |w| {
        exchange(w, "m", "m2")
    }),
    case(
        Call::Rename,
        "exchange a file and a directory",
        LAYERS,
        |w| exchange(w, "f", "ud"),
    ),
    case(Call::Rename, "exchange two directories", LAYERS, |w| {
        exchange(w, "ud", "ud2")
    }),
    case(
        Call::Rename,
        "exchange a symlink and a deep file",
        LAYERS,
        |w| exchange(w, "l", "p/q/r"),
    ),
    case(
        Call::Rename,
        "exchange into a merged directory",
        LAYERS,
        |w| exchange(w, "ud", "md/y"),
    ),
];

pub(super) const RENAMING: &[&[Case]] = &[&TO_NOTHING, &OVER_WHITEOUT, &OVER_SOMETHING, &EXCHANGES];
