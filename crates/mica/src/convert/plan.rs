//! What is to be done, as data: steps that can be done again.
//!
//! A step looks at what is there and does what is left of it, so a plan that was carried out in part is carried out once more
//! from the beginning.

use mica_vfs::Time;

/// A path from the root of the upper or of a lower.
pub(super) type Names = Vec<Box<[u8]>>;

/// All steps of a conversion. A directory comes before those in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) dirs: Vec<DirPlan>,
}

/// The steps in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirPlan {
    pub(super) path: Names,
    /// Access and modification, as they are in the end.
    pub(super) times: (Time, Time),
    pub(super) steps: Vec<Step>,
}

/// One step. `name` is an entry of the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Sets an attribute, or removes it if there is no value. An empty name is the directory itself.
    Xattr {
        name: Box<[u8]>,
        attribute: Vec<u8>,
        value: Option<Vec<u8>>,
    },
    /// Puts a whiteout in the place of what is there.
    Put { name: Box<[u8]>, mark: Mark },
    /// Removes a file.
    Remove { name: Box<[u8]> },
    /// Copies an object of a lower, of a directory what it is itself. The data is that of another one if it is a metacopy.
    Copy {
        name: Box<[u8]>,
        source: Source,
        data: Option<Source>,
    },
    /// Gives a file that was copied another name.
    Link { name: Box<[u8]>, to: Names },
    /// Fills a metacopy with its data and makes it a file like others.
    Fill {
        name: Box<[u8]>,
        data: Source,
        /// Attributes that go then.
        marks: Vec<Vec<u8>>,
        /// What writing the data would lose.
        times: (Time, Time),
        capability: Option<Vec<u8>>,
    },
}

impl Step {
    /// Returns the entry that is meant.
    pub(super) fn name(&self) -> &[u8] {
        match self {
            Self::Xattr { name, .. }
            | Self::Put { name, .. }
            | Self::Remove { name }
            | Self::Copy { name, .. }
            | Self::Link { name, .. }
            | Self::Fill { name, .. } => name,
        }
    }
}

/// A file that stands for a whiteout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// A device 0:0.
    Device,
    /// An empty file, perhaps with an attribute.
    File(Option<Vec<u8>>),
}

/// An object of a lower.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    /// Which lower, counted from the top.
    pub(super) layer: u32,
    pub(super) path: Names,
}

impl Plan {
    /// Returns how many steps there are.
    pub(super) fn steps(&self) -> u64 {
        self.dirs.iter().map(|dir| dir.steps.len() as u64).sum()
    }
}
