//! What is to be done to the machine, as data: steps that can be done again.
//!
//! All that can be made before is made before, under names of its own beside those that it is to have. What is left are
//! renames, removals, attributes, and the data of files that have to stay what they are. Each step knows the object that it is
//! about by its number, and does nothing if that is not there any more: it was done, or is what a later step made.

use mica_vfs::Attr;
use serde::{Deserialize, Serialize};

use crate::session::Bytes;

/// What an object under construction is called, up to a number.
pub(super) const TEMPORARY: &str = ".mica-commit.";

/// An object of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Id {
    pub(super) dev: u64,
    pub(super) ino: u64,
}

impl Id {
    pub(super) fn of(attr: &Attr) -> Self {
        Self {
            dev: device(attr),
            ino: attr.ino.0,
        }
    }
}

/// Returns the device, without the number of the mount.
pub(super) fn device(attr: &Attr) -> u64 {
    attr.dev.0 & u64::from(u32::MAX)
}

/// One step. Paths are of the machine's tree, those of what changed of the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Step {
    /// Gives an object another name.
    Rename { from: Bytes, to: Bytes, id: Id },
    /// Gives a file one more name, as it is to have when all else is done.
    Link { from: Bytes, to: Bytes },
    /// Removes an object, with all that is in it.
    Remove { path: Bytes, id: Id },
    /// Writes the data of a changed file into the one that is there.
    Fill { path: Bytes, changed: Bytes },
    /// Gives an object the attributes of a changed one, as far as they differ.
    Attributes {
        path: Bytes,
        changed: Bytes,
        aspects: u8,
    },
    /// Gives a directory the times that it has in the session.
    Times { path: Bytes, changed: Bytes },
}

/// What is left of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Rest {
    /// Nothing: it ends.
    Nothing,
    /// All but these.
    AllBut(Vec<Taken>),
}

/// An object that is taken out of the upper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// Its place there.
    pub(super) path: Bytes,
    /// The times of the directory that it is in, which are the session's: when they were last read and changed, in seconds and
    /// nanoseconds since 1970.
    pub(super) above: Option<[(i64, u32); 2]>,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The version of the format.
    pub(super) version: u32,
    pub(super) steps: Vec<Step>,
    pub(super) rest: Rest,
    /// How many changes it is about.
    pub(super) changes: u64,
}

/// The version that is written and read.
pub(super) const VERSION: u32 = 1;
