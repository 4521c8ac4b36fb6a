//! What is done, to which layers.

mod attributes;
mod data;
mod indexed;
mod making;
mod metacopies;
mod moving;
mod nameless;
pub(crate) mod reading;
mod removing;
mod renaming;

use mica_overlay::{Config, Index, Metacopies};
use mica_testkit::{Call, Stack, Walk};
use mica_vfs::Errno;

pub(crate) use metacopies::CUT;
pub(crate) use reading::{READINGS, Reading};

/// What a test does to an overlay.
pub(crate) type Operate = fn(Walk<'_>) -> Result<(), Errno>;

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// What is done.
    pub(crate) name: &'static str,
    /// The call that it is about.
    pub(crate) call: Call,
    pub(crate) upper: &'static str,
    pub(crate) lower: &'static str,
    pub(crate) run: Operate,
    /// Whether changes of metadata copy no data.
    pub(crate) metacopies: Metacopies,
    /// What ties the names of a lower file together.
    pub(crate) index: Index,
    /// Done instead, each leads to a view that a fault may leave, too: the case says why.
    pub(crate) between: &'static [Operate],
}

/// A case that is done wholly or not at all.
const fn case(
    call: Call,
    name: &'static str,
    (upper, lower): (&'static str, &'static str),
    run: Operate,
) -> Case {
    Case {
        name,
        call,
        upper,
        lower,
        run,
        metacopies: Metacopies::Off,
        index: Index::Off,
        between: &[],
    }
}

impl Case {
    /// Lets a fault leave these views, too.
    const fn or(mut self, between: &'static [Operate]) -> Self {
        self.between = between;
        self
    }

    /// Lets changes of metadata copy no data.
    const fn of_metadata(mut self) -> Self {
        self.metacopies = Metacopies::On;
        self
    }

    /// Ties the names of lower files together on disk.
    const fn with_index(mut self) -> Self {
        self.index = Index::On;
        self
    }

    /// Makes the mount one that the case is about.
    pub(crate) fn config(&self, config: Config) -> Config {
        Config {
            metacopies: self.metacopies,
            index: self.index,
            ..config
        }
    }

    pub(crate) fn stack(&self, config: Config) -> Stack {
        Stack::new()
            .upper(self.upper)
            .lower(self.lower)
            .config(self.config(config))
    }
}

/// All cases.
pub(crate) fn cases() -> impl Iterator<Item = Case> {
    let tables = [
        making::MAKING,
        attributes::ATTRIBUTES,
        data::DATA,
        indexed::INDEXED,
        removing::REMOVING,
        renaming::RENAMING,
        moving::MOVING,
        metacopies::METACOPIES,
        nameless::NAMELESS,
    ];
    tables.into_iter().flatten().copied().flatten().copied()
}
