//! Which directories lie in each other, or not where they have to.

use std::collections::HashMap;

use super::error::{Boundary, LayerDir, StackError};
use super::opened::Opened;
use super::place::{DirId, Place};
use super::writable::Writable;

/// Checks that no directory of the stack is, or lies inside, another one, and that upper and work are on one mount.
pub(super) fn check_separate<'a>(
    lowers: impl Iterator<Item = &'a Opened>,
    writable: Option<&'a Writable>,
) -> Result<(), StackError> {
    let written = writable.iter().flat_map(|w| [&w.upper, &w.work]);
    let all: Vec<&Opened> = written.chain(lowers).collect();
    check_distinct(&all)?;
    if let Some(Writable { upper, work, .. }) = writable
        && !upper.place.same_mount(work.place)
    {
        return Err(apart(&upper.dir, upper.place, work));
    }
    check_nested(&all)
}

/// Checks that no directory is, or lies inside, another one.
pub(super) fn check_apart(all: &[&Opened]) -> Result<(), StackError> {
    check_distinct(all)?;
    check_nested(all)
}

fn check_distinct(all: &[&Opened]) -> Result<(), StackError> {
    let mut known: HashMap<DirId, &Opened> = HashMap::new();
    for &opened in all {
        if let Some(first) = known.insert(opened.place.id, opened) {
            return Err(StackError::Same {
                first: first.dir.clone(),
                second: opened.dir.clone(),
            });
        }
    }
    Ok(())
}

fn check_nested(all: &[&Opened]) -> Result<(), StackError> {
    let known: HashMap<DirId, &Opened> = all
        .iter()
        .map(|&opened| (opened.place.id, opened))
        .collect();
    for &inner in all {
        if let Some(outer) = inner.above.iter().find_map(|id| known.get(id)) {
            return Err(StackError::Inside {
                inner: inner.dir.clone(),
                outer: outer.dir.clone(),
            });
        }
    }
    Ok(())
}

/// Says what lies between an upper and a work directory that are not on one mount.
pub(super) fn apart(upper: &LayerDir, at: Place, work: &Opened) -> StackError {
    StackError::Apart {
        upper: upper.clone(),
        work: work.dir.clone(),
        boundary: Boundary::between(at, work.place),
    }
}

impl Boundary {
    /// Says what lies between two places that are not on one mount.
    pub(crate) fn between(one: Place, other: Place) -> Self {
        if one.same_filesystem(other) {
            Self::Mount
        } else {
            Self::Filesystem
        }
    }
}
