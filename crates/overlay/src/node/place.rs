//! Where nodes are found.

use std::sync::Arc;

use mica_vfs::{Errno, FileName, FileNameBuf};

use super::Node;
use crate::hard_link::Noted;

/// Where a node is found: what copy-up needs to publish it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory, on which the node holds a reference.
    pub(crate) parent: Arc<Node>,
    pub(crate) name: FileNameBuf,
}

impl Place {
    pub(crate) fn new(dir: &Arc<Node>, name: FileName<'_>) -> Self {
        Self {
            parent: Arc::clone(dir),
            name: name.to_owned(),
        }
    }

    /// Whether this is `name` in `dir`.
    pub(crate) fn is(&self, dir: &Node, name: FileName<'_>) -> bool {
        self.parent.id == dir.id && self.name.as_name() == name
    }
}

impl Node {
    pub(crate) fn place(&self) -> Result<Option<Place>, Errno> {
        Ok(self.place.lock()?.clone())
    }

    /// Sets where the node is found and returns where it was.
    pub(crate) fn set_place(&self, place: Option<Place>) -> Result<Option<Place>, Errno> {
        Ok(std::mem::replace(&mut *self.place.lock()?, place))
    }

    /// Sets where the node was found, unless the directory has another version by now. Returns the place that is not the node's: the
    /// one before, or `found`.
    pub(crate) fn set_place_found(
        &self,
        found: Place,
        version: u32,
    ) -> Result<(Noted, Option<Place>), Errno> {
        let mut place = self.place.lock()?;
        // Who takes a name away changes the version first, and then the place.
        if found.parent.version() != version {
            return Ok((Noted::Raced, Some(found)));
        }
        Ok((Noted::Yes, place.replace(found)))
    }

    /// Whether the node is found as `name` in `dir`.
    pub(crate) fn is_at(&self, dir: &Self, name: FileName<'_>) -> Result<bool, Errno> {
        let place = self.place.lock()?;
        Ok(place.as_ref().is_some_and(|place| place.is(dir, name)))
    }

    /// The path of a name in the directory, for messages.
    pub(crate) fn path_of(&self, name: FileName<'_>) -> String {
        match self.path().as_str() {
            "/" => format!("/{name}"),
            dir => format!("{dir}/{name}"),
        }
    }

    /// The path from the root, for messages.
    pub(crate) fn path(&self) -> String {
        let mut names = Vec::new();
        let mut at = self.place().ok().flatten();
        while let Some(place) = at {
            names.push(place.name.as_name().to_string());
            at = place.parent.place().ok().flatten();
        }
        names.reverse();
        format!("/{}", names.join("/"))
    }
}
