//! The table of inodes, and what every operation does with it.
//!
//! # Invariants
//!
//! - Slot 0 is the root. It is never freed.
//! - A slot that is freed gets a new generation, so an old [`NodeId`] or handle never names the next inode in it.
//! - An inode is in the table exactly while it has a name or a reference.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mica_vfs::{
    Attr, Cookie, DevId, Entry, Errno, FileFlags, FileHandle, FileName, FileType, Ino, Mode,
    NodeId, StatFs, Time, invent,
};

use crate::dir::Dir;
use crate::inode::{Body, Inode, Unnamed};
use crate::limits::{Budget, Limits};
use crate::pages::PAGE_SIZE;

/// `TMPFS_MAGIC`
const MAGIC: u64 = 0x0102_1994;
/// The one type of our file handles.
const HANDLE_KIND: i32 = 1;

/// A place in the table of inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Index(u32);

impl Index {
    pub(crate) const ROOT: Self = Self(0);
}

/// How often a slot has been used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generation(u32);

#[derive(Debug)]
struct Slot {
    generation: Generation,
    inode: Option<Inode>,
}

/// A name that a listing found.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: Arc<[u8]>,
    pub(crate) ino: Ino,
    pub(crate) kind: FileType,
    pub(crate) cookie: Cookie,
}

/// All inodes and what they use.
#[derive(Debug)]
pub(crate) struct Tree {
    dev: DevId,
    slots: Vec<Slot>,
    free: Vec<Index>,
    next_ino: Ino,
    pub(crate) pages: Budget,
    pub(crate) inodes: Budget,
}

impl Tree {
    /// Makes a tree of an empty root directory, mode 0755, of root.
    pub(crate) fn new(dev: DevId, limits: Limits, now: Time) -> Self {
        let root = Inode {
            ino: Ino(1),
            refs: AtomicU64::new(0),
            mode: Mode::new(0o755),
            nlink: 2,
            unnamed: Unnamed::Gone,
            uid: 0,
            gid: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            flags: FileFlags::empty(),
            xattrs: std::collections::BTreeMap::new(),
            body: Body::Directory(Dir::new(Index::ROOT)),
        };
        let mut inodes = Budget::inodes(limits);
        // A limit below one inode cannot be kept: the root exists.
        let _ = inodes.take(1);
        Self {
            dev,
            slots: vec![Slot {
                generation: Generation(0),
                inode: Some(root),
            }],
            free: Vec::new(),
            next_ino: Ino(2),
            pages: Budget::pages(limits),
            inodes,
        }
    }

    /// Finds the inode behind a node that somebody references.
    ///
    /// # Errors
    ///
    /// `ESTALE` if nobody does.
    pub(crate) fn find(&self, node: NodeId) -> Result<Index, Errno> {
        if node == NodeId::ROOT {
            return Ok(Index::ROOT);
        }
        let index = self.slot_of(node).ok_or(Errno::STALE)?;
        let refs = &self.inode(index)?.refs;
        if refs.load(Ordering::Relaxed) == 0 {
            return Err(Errno::STALE);
        }
        Ok(index)
    }

    /// Reads an inode that is known to be in the table.
    pub(crate) fn inode(&self, index: Index) -> Result<&Inode, Errno> {
        self.slot(index)
            .and_then(|slot| slot.inode.as_ref())
            .ok_or_else(|| invent!(Errno::IO, "a name leads to a free inode", index = index.0))
    }

    /// Changes an inode that is known to be in the table.
    pub(crate) fn inode_mut(&mut self, index: Index) -> Result<&mut Inode, Errno> {
        self.inode_and_pages(index).map(|(inode, _)| inode)
    }

    /// Changes an inode, with the budget that its pages come from.
    pub(crate) fn inode_and_pages(
        &mut self,
        index: Index,
    ) -> Result<(&mut Inode, &mut Budget), Errno> {
        let at = usize::try_from(index.0).unwrap_or(usize::MAX);
        let inode = self
            .slots
            .get_mut(at)
            .and_then(|slot| slot.inode.as_mut())
            .ok_or_else(|| invent!(Errno::IO, "a name leads to a free inode", index = index.0))?;
        Ok((inode, &mut self.pages))
    }

    /// Finds a directory that names can be made in.
    ///
    /// # Errors
    ///
    /// `ESTALE`, `ENOTDIR`; `ENOENT` if the directory was removed.
    pub(crate) fn find_dir(&self, node: NodeId) -> Result<Index, Errno> {
        let index = self.find(node)?;
        let inode = self.inode(index)?;
        inode.dir()?;
        if inode.nlink == 0 {
            return Err(Errno::NOENT);
        }
        Ok(index)
    }

    /// Finds a name in a directory.
    pub(crate) fn child(&self, dir: Index, name: FileName<'_>) -> Result<Option<Index>, Errno> {
        Ok(self.inode(dir)?.dir()?.get(name))
    }

    /// Finds a name in a directory, which must exist.
    ///
    /// # Errors
    ///
    /// `ENOENT` if it does not.
    pub(crate) fn existing(&self, dir: Index, name: FileName<'_>) -> Result<Index, Errno> {
        self.child(dir, name)?.ok_or(Errno::NOENT)
    }

    /// Gives out a reference on an inode.
    pub(crate) fn entry(&self, index: Index) -> Result<Entry, Errno> {
        let inode = self.inode(index)?;
        if index != Index::ROOT {
            inode.refs.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Entry {
            node: self.node_id(index)?,
            attr: inode.attr(self.dev),
        })
    }

    /// Returns the attributes of an inode.
    pub(crate) fn attr(&self, index: Index) -> Result<Attr, Errno> {
        Ok(self.inode(index)?.attr(self.dev))
    }

    /// Puts a new inode into the table; `make` gets its number.
    ///
    /// # Errors
    ///
    /// `ENOSPC` at the limit of inodes.
    pub(crate) fn add(&mut self, make: impl FnOnce(Ino) -> Inode) -> Result<Index, Errno> {
        self.inodes.take(1)?;
        let inode = Some(make(self.next_ino));
        self.next_ino = Ino(self.next_ino.0 + 1);
        if let Some(index) = self.free.pop() {
            let at = usize::try_from(index.0).unwrap_or(usize::MAX);
            if let Some(slot) = self.slots.get_mut(at) {
                slot.inode = inode;
                return Ok(index);
            }
        }
        let index = Index(u32::try_from(self.slots.len()).map_err(|_| Errno::NOSPC)?);
        self.slots.push(Slot {
            generation: Generation(0),
            inode,
        });
        Ok(index)
    }

    /// Ends references. Returns whether the inode has neither a name nor a reference any more.
    pub(crate) fn unreference(&self, node: NodeId, count: u64) -> Option<Index> {
        if node == NodeId::ROOT {
            return None;
        }
        let index = self.slot_of(node)?;
        let inode = self.inode(index).ok()?;
        let mut refs = inode.refs.load(Ordering::Relaxed);
        loop {
            let left = refs.saturating_sub(count);
            match inode
                .refs
                .compare_exchange_weak(refs, left, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return (left == 0 && inode.nlink == 0).then_some(index),
                Err(now) => refs = now,
            }
        }
    }

    /// Frees an inode if it has neither a name nor a reference.
    pub(crate) fn release(&mut self, index: Index) {
        let at = usize::try_from(index.0).unwrap_or(usize::MAX);
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let dead = |inode: &mut Inode| inode.nlink == 0 && *inode.refs.get_mut() == 0;
        if let Some(inode) = slot.inode.take_if(dead) {
            slot.generation = Generation(slot.generation.0.wrapping_add(1));
            self.free.push(index);
            self.inodes.give(1);
            if let Body::Regular(pages) = inode.body {
                self.pages.give(pages.count());
            }
        }
    }

    /// Counts the nodes that somebody references; the root is not counted.
    pub(crate) fn referenced(&self) -> usize {
        self.slots
            .iter()
            .filter_map(|slot| slot.inode.as_ref())
            .filter(|inode| inode.refs.load(Ordering::Relaxed) > 0)
            .count()
    }

    /// Lists up to `count` names of a directory.
    pub(crate) fn list(
        &self,
        dir: NodeId,
        from: Cookie,
        count: usize,
    ) -> Result<Vec<Listed>, Errno> {
        let dir = self.inode(self.find(dir)?)?.dir()?;
        dir.after(from)
            .take(count)
            .map(|(cookie, name, index)| {
                let inode = self.inode(index)?;
                Ok(Listed {
                    name: Arc::clone(name),
                    ino: inode.ino,
                    kind: inode.kind(),
                    cookie,
                })
            })
            .collect()
    }

    /// Returns space and limits.
    pub(crate) fn stat_fs(&self) -> StatFs {
        StatFs {
            kind: MAGIC,
            block_size: 4096,
            fragment_size: u32::try_from(PAGE_SIZE).unwrap_or(4096),
            blocks: self.pages.limit(),
            blocks_free: self.pages.free(),
            blocks_available: self.pages.free(),
            files: self.inodes.limit(),
            files_free: self.inodes.free(),
            name_max: 255,
        }
    }

    /// Makes the handle of a node: inode number, slot and generation.
    pub(crate) fn file_handle(&self, node: NodeId) -> Result<FileHandle, Errno> {
        let index = self.find(node)?;
        let mut bytes = Vec::with_capacity(16);
        bytes.extend(self.inode(index)?.ino.0.to_le_bytes());
        bytes.extend(self.node_id(index)?.0.to_le_bytes());
        Ok(FileHandle {
            kind: HANDLE_KIND,
            bytes: bytes.into(),
        })
    }

    /// Finds what a handle names, referenced or not.
    ///
    /// # Errors
    ///
    /// `ESTALE` if it is gone, has no name, or the handle is none of ours.
    pub(crate) fn attr_by_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        let decoded = handle
            .bytes
            .split_first_chunk::<8>()
            .and_then(|(ino, rest)| {
                let node = <[u8; 8]>::try_from(rest).ok()?;
                Some((
                    Ino(u64::from_le_bytes(*ino)),
                    NodeId(u64::from_le_bytes(node)),
                ))
            });
        let Some((ino, node)) = decoded.filter(|_| handle.kind == HANDLE_KIND) else {
            return Err(Errno::STALE);
        };
        self.slot_of(node)
            .and_then(|index| self.inode(index).ok())
            .filter(|inode| inode.ino == ino && inode.nlink > 0)
            .map(|inode| inode.attr(self.dev))
            .ok_or(Errno::STALE)
    }

    fn slot(&self, index: Index) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.0).ok()?)
    }

    /// Node 1 is slot 0 of generation 0: the low half is the slot and one, the high half the generation.
    fn node_id(&self, index: Index) -> Result<NodeId, Errno> {
        let generation = self.slot(index).ok_or(Errno::IO)?.generation;
        Ok(NodeId(
            (u64::from(generation.0) << 32) | (u64::from(index.0) + 1),
        ))
    }

    /// Finds the slot that a node names, if it still holds that inode.
    fn slot_of(&self, node: NodeId) -> Option<Index> {
        let low = u32::try_from(node.0 & u64::from(u32::MAX)).ok()?;
        let index = Index(low.checked_sub(1)?);
        let generation = Generation(u32::try_from(node.0 >> 32).ok()?);
        let slot = self.slot(index)?;
        (slot.generation == generation && slot.inode.is_some()).then_some(index)
    }
}
