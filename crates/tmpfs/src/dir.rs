//! The names of one directory.
//!
//! Each name has a number, which is its cookie in a listing. Numbers only rise.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use mica_vfs::{Cookie, FileName};

use crate::tree::Index;

/// The number of a name in its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Sequence(u64);

/// The names of one directory.
#[derive(Debug)]
pub(crate) struct Dir {
    /// The directory that holds this one; the root holds itself.
    pub(crate) parent: Index,
    names: HashMap<Arc<[u8]>, Sequence>,
    order: BTreeMap<Sequence, (Arc<[u8]>, Index)>,
    next: Sequence,
}

impl Dir {
    /// Makes an empty directory in `parent`.
    pub(crate) fn new(parent: Index) -> Self {
        Self {
            parent,
            names: HashMap::new(),
            order: BTreeMap::new(),
            next: Sequence(1),
        }
    }

    /// Returns how many names there are.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Finds a name.
    pub(crate) fn get(&self, name: FileName<'_>) -> Option<Index> {
        let at = self.names.get(name.as_bytes())?;
        self.order.get(at).map(|&(_, index)| index)
    }

    /// Lets `name` be `index`, whatever it was. A name that exists keeps its number: to a reader it is the same
    /// entry.
    pub(crate) fn set(&mut self, name: FileName<'_>, index: Index) {
        if let Some((_, found)) = self
            .names
            .get(name.as_bytes())
            .and_then(|at| self.order.get_mut(at))
        {
            *found = index;
            return;
        }
        let name: Arc<[u8]> = name.as_bytes().into();
        self.names.insert(Arc::clone(&name), self.next);
        self.order.insert(self.next, (name, index));
        self.next = Sequence(self.next.0 + 1);
    }

    /// Removes a name.
    pub(crate) fn remove(&mut self, name: FileName<'_>) {
        if let Some(at) = self.names.remove(name.as_bytes()) {
            self.order.remove(&at);
        }
    }

    /// Lists the names after `from`, in the order of their numbers.
    pub(crate) fn after(&self, from: Cookie) -> impl Iterator<Item = (Cookie, &Arc<[u8]>, Index)> {
        self.order
            .range((Bound::Excluded(Sequence(from.0)), Bound::Unbounded))
            .map(|(at, (name, index))| (Cookie(at.0), name, *index))
    }
}
