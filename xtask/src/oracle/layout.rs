//! Layers as text, and how they are written to a directory.
//!
//! One object a line, parents first:
//!
//! ```text
//! d PATH [MODE [OWNER]]           directory          l PATH TARGET     symbolic link
//! f PATH [MODE [OWNER [TEXT]]]    file               h PATH OTHER      hard link to OTHER
//! p PATH / s PATH                 FIFO, socket       w PATH            whiteout (device 0:0)
//! c PATH MAJOR:MINOR              device             x PATH NAME VALUE xattr
//! big PATH [KIB]                  data, 1 MiB if not said otherwise
//! sparse PATH [KIB]               the same length, with data at its end only
//! size PATH BYTES                 changes the length of a file
//! many PATH COUNT                 files in a directory, more than one read of it can hold
//! + PATH FLAGS                    flags of chattr(1), set when everything is there
//! ```
//!
//! Every object gets a time of its own in the past, so that a copy which loses a time is seen.

mod shapes;
mod write;

pub(crate) use shapes::LAYOUTS;
pub(crate) use write::{write, write_parts};

/// The layers of one overlay before anything happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) name: &'static str,
    /// The topmost first.
    pub(crate) lowers: &'static [&'static str],
    pub(crate) upper: &'static str,
    /// Data-only layers, the first asked first.
    pub(crate) data: &'static [&'static str],
}

impl Layout {
    /// Says whether a lower has a file with several names.
    pub(crate) fn has_links(&self) -> bool {
        let mut lines = self.lowers.iter().flat_map(|text| text.lines());
        lines.any(|line| line.trim_start().starts_with("h "))
    }

    /// Returns all paths that some layer has.
    pub(crate) fn paths(&self) -> Vec<&'static str> {
        let texts = self.lowers.iter().copied().chain([self.upper]);
        let mut paths: Vec<_> = texts
            .flat_map(str::lines)
            .map(str::trim)
            .filter(|line| !line.starts_with("many "))
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }
}

/// What a layer can hold, and under which names, where it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Everything.
    All,
    /// In a user namespace: marks are `user.overlay.*`, and there are no devices but whiteouts.
    Mapped,
    /// As mapped, and there are no other owners.
    Single,
}
