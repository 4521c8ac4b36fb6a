//! Removing names.

use mica_testkit::Call;

use super::{Case, case};

const LAYERS: (&str, &str) = (
    "u='u' m='merged' h='two' h2=>h ud/ md/ swept/z:whiteout swept/y:whiteout \
     p/q/new='1'",
    "f='lower' m='hidden' n='two' n2=>n l->t i:fifo ld/ md/ swept/z='1' swept/y='1' \
     p/q/r='deep' p/e/",
);

/// What a sweep that was stopped leaves.
const SEALED: (&str, &str) = ("sealed:opaque sealed/z:whiteout", "sealed/x='1'");

pub(super) const REMOVING: &[&[Case]] = &[&[
    case(Call::Unlink, "unlink a lower file", LAYERS, |w| {
        w.unlink("f")
    }),
    case(Call::Unlink, "unlink an upper file", LAYERS, |w| {
        w.unlink("u")
    }),
    case(Call::Unlink, "unlink a merged file", LAYERS, |w| {
        w.unlink("m")
    }),
    case(Call::Unlink, "unlink a copied file", LAYERS, |w| {
        w.chmod("f", 0o644)?;
        w.unlink("f")
    }),
    case(Call::Unlink, "unlink one of two upper names", LAYERS, |w| {
        w.unlink("h")
    }),
    case(Call::Unlink, "unlink one of two lower names", LAYERS, |w| {
        w.unlink("n")
    }),
    case(Call::Unlink, "unlink a lower symlink", LAYERS, |w| {
        w.unlink("l")
    }),
    case(Call::Unlink, "unlink a lower fifo", LAYERS, |w| {
        w.unlink("i")
    }),
    case(Call::Unlink, "unlink deep", LAYERS, |w| w.unlink("p/q/r")),
    case(Call::Unlink, "unlink an upper file deep", LAYERS, |w| {
        w.unlink("p/q/new")
    }),
    case(Call::Rmdir, "rmdir a lower directory", LAYERS, |w| {
        w.rmdir("ld")
    }),
    case(Call::Rmdir, "rmdir an upper directory", LAYERS, |w| {
        w.rmdir("ud")
    }),
    case(Call::Rmdir, "rmdir a merged directory", LAYERS, |w| {
        w.rmdir("md")
    }),
    case(Call::Rmdir, "rmdir a swept directory", LAYERS, |w| {
        w.rmdir("swept")
    }),
    case(Call::Rmdir, "rmdir a sealed directory", SEALED, |w| {
        w.rmdir("sealed")
    }),
    case(Call::Rmdir, "rmdir deep", LAYERS, |w| w.rmdir("p/e")),
]];
