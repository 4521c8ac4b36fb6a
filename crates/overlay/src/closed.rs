//! Directories whose names the lowers do not tell.

use mica_vfs::{Errno, FileType, Rights, met};

use crate::config::Unlisted;
use crate::node::Node;
use crate::overlay::Overlay;
use crate::stack::LayerNode;

impl Overlay {
    /// Whether `dir` shows as empty, as it may not be listed (OVL-220).
    pub(crate) fn is_blank(&self, dir: &Node) -> bool {
        if self.config.unlisted != Unlisted::Empty || dir.upper().is_some() {
            return false;
        }
        let blank = self.closed_of(dir).is_some();
        if blank {
            met!(220);
        }
        blank
    }

    /// Tells the witness of a directory that somebody wanted to list, if the lowers are why he may not.
    pub(crate) fn tell_closed(&self, dir: &Node) {
        if self.config.witness.is_some()
            && let Some(lower) = self.closed_of(dir)
        {
            self.witness_closed(lower);
        }
    }

    /// Tells the witness of one whose layer has said so.
    pub(crate) fn witness_closed(&self, lower: &LayerNode) {
        if let Some(witness) = &self.config.witness {
            witness.miss(lower.id);
        }
    }

    fn closed_of<'a>(&self, dir: &'a Node) -> Option<&'a LayerNode> {
        if dir.kind != FileType::Directory {
            return None;
        }
        let lower = dir.first_lower()?;
        let told = lower.fs().access(lower.id, Rights::READ);
        (told == Err(Errno::ACCESS)).then_some(lower)
    }
}
