//! What the kernel's overlayfs would do with a mount (Linux 6.18, fs/overlayfs/super.c and params.c).
//!
//! Pure: what was found out about options, machine and directories comes in, what the kernel makes of it goes out. Nothing is
//! mounted, and the kernel is not asked.

use std::collections::HashMap;

use super::asked::Asked;
use super::depth;
use super::finding::Finding;
use super::kernel_upper;
use super::layers::{Dir, Facts, Layers, Looked, magic};
use super::machine::Machine;
use super::rows;
use crate::stack::error::word;
use crate::stack::place::DirId;
use crate::stack::{Boundary, LayerDir, Role, StackError};

/// Says all that the kernel would refuse or do without, what is wrong with the layers first.
pub(super) fn judge(asked: &Asked, machine: &Machine, layers: &Layers) -> Vec<Finding> {
    let mut found = Vec::new();
    for dir in layers.all() {
        found.extend(unopened(dir));
    }
    found.extend(separate(layers));
    for (dir, facts) in layers.open() {
        found.extend(filesystem(dir, facts, machine));
        found.extend(unmapped(dir, facts));
    }
    found.extend(too_deep(layers));
    found.extend(in_use(asked, machine, layers));
    found.extend(privileges(asked, machine));
    kernel_upper::judge(asked, machine, layers, &mut found);
    found
}

/// Says in the words of Mica what the kernel refuses as Mica does.
fn shared(row: &'static rows::Row, error: StackError) -> Finding {
    let hint = error.hint();
    Finding::of_kernel(row, error, hint)
}

fn unopened(dir: &Dir) -> Option<Finding> {
    let named = dir.dir.clone();
    Some(match &dir.looked {
        Looked::Missing => shared(&rows::MISSING, StackError::Missing { dir: named }),
        Looked::NotDirectory => shared(
            &rows::NOT_DIRECTORY,
            StackError::NotDirectory { dir: named },
        ),
        Looked::Closed(errno) => shared(
            &rows::CLOSED,
            StackError::Open {
                dir: named,
                source: *errno,
            },
        ),
        Looked::Open(_) => return None,
    })
}

/// Which directory is, or lies inside, another one (ovl_setup_trap, ovl_check_overlapping_layers, ovl_workdir_ok).
fn separate(layers: &Layers) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut known: HashMap<DirId, &LayerDir> = HashMap::new();
    for (dir, facts) in layers.open() {
        if let Some(first) = known.insert(facts.place.id, dir) {
            let (first, second) = (first.clone(), dir.clone());
            let row = match (first.role, second.role) {
                (Role::Upper, Role::Work) => &rows::WORK_NESTED,
                _ => &rows::SAME,
            };
            found.push(shared(row, StackError::Same { first, second }));
        }
    }
    let written = layers.upper.as_ref().zip(layers.work.as_ref());
    if let Some((upper, work)) = written
        && let Some((there, here)) = upper.facts().zip(work.facts())
        && !there.place.same_mount(here.place)
    {
        let error = StackError::Apart {
            upper: upper.dir.clone(),
            work: work.dir.clone(),
            boundary: Boundary::between(there.place, here.place),
        };
        found.push(shared(&rows::WORK_APART, error));
    }
    for (inner, facts) in layers.open() {
        let outer = facts.above.iter().find_map(|id| known.get(id));
        let Some(&outer) = outer else { continue };
        let error = StackError::Inside {
            inner: inner.clone(),
            outer: outer.clone(),
        };
        found.push(match (inner.role, outer.role) {
            (Role::Lower | Role::Data, _) => shared(&rows::LOWER_INSIDE, error),
            (_, Role::Lower | Role::Data) => shared(&rows::INSIDE_LOWER, error),
            _ => shared(&rows::WORK_NESTED, error),
        });
    }
    found
}

/// Filesystems that can be no layer at all.
fn filesystem(dir: &LayerDir, facts: &Facts, machine: &Machine) -> Option<Finding> {
    let another = format!(
        "choose a directory on another filesystem; `findmnt -T {}` shows this one",
        word(&dir.path)
    );
    let odd = facts.magic == magic::AUTOFS || magic::FAT.contains(&facts.magic);
    if odd {
        let words = format!("{dir} is on a filesystem that overlayfs does not take");
        return Some(Finding::kernel(&rows::NOT_SUPPORTED, words, another));
    }
    if facts.casefold && machine.older_than(6, 18) {
        return Some(shared(
            &rows::CASEFOLD,
            StackError::Casefold { dir: dir.clone() },
        ));
    }
    None
}

fn unmapped(dir: &LayerDir, facts: &Facts) -> Option<Finding> {
    facts.unmapped.then(|| unmapped_owner(dir))
}

/// Says that what a layer holds belongs to nobody in this user namespace.
pub(super) fn unmapped_owner(dir: &LayerDir) -> Finding {
    Finding::kernel(
        &rows::UNMAPPED_IDS,
        format!(
            "the owner of {dir} has no mapping in this user namespace: what belongs to it cannot be changed (EOVERFLOW)"
        ),
        format!(
            "map more ids, as `unshare --map-auto --map-root-user` or `podman unshare` do; `stat {}` in the initial namespace shows whose it is",
            word(&dir.path)
        ),
    )
}

fn too_deep(layers: &Layers) -> Option<Finding> {
    let deepest = layers.open().max_by_key(|(_, facts)| facts.depth);
    let (dir, _) = deepest.filter(|(_, facts)| facts.depth >= depth::MAX)?;
    Some(Finding::kernel(
        &rows::TOO_DEEP,
        format!(
            "{dir} lies on overlays on overlays, or on proc, and the kernel stacks no deeper than {}",
            depth::MAX
        ),
        format!(
            "name the layers of the inner overlay themselves (`findmnt -T {}` shows them), or mount with `mica mount`",
            word(&dir.path)
        ),
    ))
}

/// Another mount that writes to a directory: the kernel knows its own alone, and refuses with `index=on` only.
fn in_use(asked: &Asked, machine: &Machine, layers: &Layers) -> Vec<Finding> {
    let index = asked.is_on("index", machine);
    let used = layers.open();
    let used = used.filter_map(|(dir, facts)| Some((dir, facts.by.clone()?)));
    used.map(|(dir, by)| {
        let known = by.program == crate::stack::Overlayer::Kernel;
        let row = match (dir.role, index && known) {
            (Role::Lower | Role::Data, false) => &rows::LOWER_IN_USE,
            (Role::Lower | Role::Data, true) => &rows::LOWER_IN_USE_INDEX,
            (_, false) => &rows::IN_USE,
            (_, true) => &rows::IN_USE_INDEX,
        };
        shared(
            row,
            StackError::InUse {
                dir: dir.clone(),
                by,
            },
        )
    })
    .collect()
}

/// What takes `CAP_SYS_ADMIN` in the initial user namespace.
fn privileges(asked: &Asked, machine: &Machine) -> Vec<Finding> {
    let mut found = Vec::new();
    if machine.trusted() || asked.userxattr {
        return found;
    }
    for name in ["redirect_dir", "metacopy"] {
        if asked.has(name, "on") {
            found.push(Finding::kernel(
                &rows::TRUSTED_REDIRECTS,
                format!("`{name}=on` needs CAP_SYS_ADMIN in the initial user namespace"),
                format!("leave `{name}=on` out and add `-o userxattr`, or mount as root"),
            ));
        }
    }
    if asked.upper.is_some() {
        let hint = StackError::Trusted.hint();
        found.push(Finding::of_kernel(
            &rows::TRUSTED_XATTRS,
            StackError::Trusted,
            hint,
        ));
    }
    found
}
