//! Marks in layers that a mount with these options does not follow: `redirect`, and `metacopy` without data.
//!
//! A layer may hold millions of files. Its root and what lies one level below are looked at, and no more than a few thousand
//! names: what is not found there may still be deeper.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::finding::Finding;
use super::rows;
use crate::Escaped;
use crate::stack::{LayerDir, Role};

/// The most names that are looked at in a layer.
const NAMES_MAX: usize = 4_000;
/// How many levels of directories.
const LEVELS: usize = 2;
/// Up to this size a `metacopy` holds no digest.
const HEADER: usize = 4;

/// What a driver does with marks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follows {
    pub(super) userxattr: bool,
    /// Redirects of directories are followed.
    pub(super) redirects: bool,
    /// Files without data are followed to it.
    pub(super) metacopy: bool,
    pub(super) digests: Digests,
}

/// What is done with digests of data, `verity=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Digests {
    Ignored,
    Checked,
    Required,
}

/// What lies below a layer, topmost first.
struct Below<'a> {
    /// Layers that show names.
    names: Vec<&'a Path>,
    /// Layers that hold data alone: they are reached by a path, whatever else is followed.
    data: Vec<&'a Path>,
}

/// Looks at the layers, topmost first and those of data last, and says which object of each kind is refused.
pub(super) fn judge(layers: &[LayerDir], follows: Follows) -> Vec<Finding> {
    let mut found: Vec<Finding> = Vec::new();
    let (data, named): (Vec<&LayerDir>, Vec<_>) =
        layers.iter().partition(|dir| dir.role == Role::Data);
    for (n, &layer) in named.iter().enumerate() {
        let names: Vec<&Path> = named.iter().skip(n + 1).map(|dir| &*dir.path).collect();
        let below = Below {
            data: data.iter().map(|dir| &*dir.path).collect(),
            names,
        };
        let mut left = NAMES_MAX;
        look(
            layer,
            Path::new(""),
            LEVELS,
            &mut left,
            &mut |path, is_dir| {
                let finding = if is_dir {
                    redirect(layer, path, follows, &below)
                } else {
                    metacopy(layer, path, follows, &below)
                };
                let Some(finding) = finding else { return };
                if found.iter().all(|known| known.row != finding.row) {
                    found.push(finding);
                }
            },
        );
    }
    found
}

fn look(
    layer: &LayerDir,
    below: &Path,
    levels: usize,
    left: &mut usize,
    tell: &mut dyn FnMut(&Path, bool),
) {
    let entries = fs::read_dir(layer.path.join(below)).into_iter().flatten();
    for entry in entries.flatten() {
        let Some(fewer) = left.checked_sub(1) else {
            return;
        };
        *left = fewer;
        let path = below.join(entry.file_name());
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() || kind.is_file() {
            tell(&path, kind.is_dir());
        }
        if kind.is_dir() && levels > 1 {
            look(layer, &path, levels - 1, left, tell);
        }
    }
}

/// Reads a mark of the overlay; `None`: there is none.
fn mark(layer: &LayerDir, path: &Path, name: &str, follows: Follows) -> Option<Vec<u8>> {
    let prefix = if follows.userxattr { "user" } else { "trusted" };
    let mut value = vec![0; 4096];
    let name = format!("{prefix}.overlay.{name}");
    let len = rustix::fs::lgetxattr(layer.path.join(path), name.as_str(), &mut value).ok()?;
    value.truncate(len);
    Some(value)
}

fn redirect(layer: &LayerDir, path: &Path, follows: Follows, below: &Below<'_>) -> Option<Finding> {
    if follows.redirects || below.names.is_empty() {
        return None;
    }
    mark(layer, path, "redirect", follows)?;
    Some(Finding::kernel(
        &rows::REDIRECT_REFUSED,
        format!(
            "{} in {layer} was renamed with `redirect_dir=on`, which is not followed: it is refused (EPERM)",
            Escaped::new(path)
        ),
        if follows.userxattr {
            "mount the layers as root without `userxattr`, with `-o redirect_dir=on`, and copy what you need"
        } else {
            "add `-o redirect_dir=on`"
        },
    ))
}

fn metacopy(layer: &LayerDir, path: &Path, follows: Follows, below: &Below<'_>) -> Option<Finding> {
    let value = mark(layer, path, "metacopy", follows)?;
    let redirect = mark(layer, path, "redirect", follows);
    let file = Escaped::new(path);
    let leads_to_data = redirect.as_ref().is_some_and(|to| to.starts_with(b"/"))
        && below.names.is_empty()
        && !below.data.is_empty();
    if !follows.metacopy && !leads_to_data {
        return Some(Finding::kernel(
            &rows::METACOPY_REFUSED,
            format!(
                "{file} in {layer} was changed with `metacopy=on` and has no data of its own: it is refused (EPERM)"
            ),
            if follows.userxattr {
                "mount the layers as root without `userxattr`, with `-o metacopy=on`, and copy what you need"
            } else {
                "add `-o metacopy=on`"
            },
        ));
    }
    let has_data = |dir: &&Path| -> bool { dir.join(path).is_file() };
    if redirect.is_none() && !below.names.iter().any(has_data) {
        let lost: PathBuf = path.to_owned();
        return Some(Finding::kernel(
            &rows::METACOPY_NO_DATA,
            format!(
                "{file} in {layer} has its data in a layer below, and none has it: it cannot be read (EIO)"
            ),
            format!(
                "add the layer that has {} to `lowerdir`",
                Escaped::new(&lost)
            ),
        ));
    }
    if value.len() <= HEADER {
        return (follows.digests == Digests::Required).then(|| {
            Finding::kernel(
                &rows::NO_DIGEST,
                format!("{file} in {layer} carries no digest of its data, which `verity=require` wants: it cannot be read (EIO)"),
                "write `-o verity=on`, which takes files without a digest",
            )
        });
    }
    let data = below.names.iter().map(|dir| dir.join(path));
    let data = data.into_iter().find(|path| path.is_file());
    let unprotected = redirect.is_none() && data.is_some_and(|data| !is_protected(&data));
    (follows.digests >= Digests::Checked && unprotected).then(|| {
        Finding::kernel(
            &rows::WRONG_DIGEST,
            format!("{file} in {layer} carries a digest, and its data in a layer below is not protected by fs-verity: it cannot be read (EIO)"),
            "put back the data as it was, protect it with `fsverity enable`, or leave `verity` out",
        )
    })
}

/// `STATX_ATTR_VERITY`
const VERITY: u64 = 0x0010_0000;

/// Tells whether fs-verity keeps a file as it is.
fn is_protected(file: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::statx(CWD, file, flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.bits() & VERITY != 0)
}
