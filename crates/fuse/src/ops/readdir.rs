//! Listing directories.
//!
//! `.` and `..` are added here: the filesystem does not list them. On the wire an offset is
//!
//! | offset | means |
//! |---|---|
//! | 0 | the start |
//! | 1 | after `.` |
//! | 2 | after `..`, the filesystem's own start |
//! | c + 2 | after the entry with cookie c |
//!
//! The kernel's offset is signed. A cookie so high that the shift would pass `i64::MAX` is sent as `i64::MAX` and read
//! back as such: ext4 gives that cookie to the last entry of a directory, and no other filesystem comes near it.

mod advice;

pub(crate) use advice::ListingAdvice;

use mica_vfs::{Cookie, DirEntry, Errno, FileType, Flow, Ino, ListedNode, NodeId};

use crate::connection::Connection;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{Dirent, DirentPlus, EntryOut, ReadIn, padded};
use advice::Attributes;

/// How many offsets stand before those of the filesystem.
const OWN_OFFSETS: u64 = 2;
/// The highest offset of the wire.
const LAST_OFFSET: u64 = i64::MAX as u64;

/// Lists names.
pub(crate) fn readdir(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: ReadIn = request.take()?;
    let mut listing = Listing::new(cx, Format::Names, wire.size, reply)?;
    listing.own_entries(request.node(), wire.offset)?;
    let listed = listing.names(request.node(), cookie_of(wire.offset));
    listing.finish(listed)
}

/// Lists names with nodes and attributes, as far as somebody wants them.
pub(crate) fn readdirplus(
    cx: &Connection,
    mut request: Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Errno> {
    let wire: ReadIn = request.take()?;
    let dir = request.node();
    let mut listing = Listing::new(cx, Format::NamesAndNodes, wire.size, reply)?;
    listing.own_entries(dir, wire.offset)?;
    let listed = match cx.advice.wanted(dir, wire.offset) {
        Attributes::Left => listing.names(dir, cookie_of(wire.offset)),
        Attributes::Given => listing.nodes(dir, cookie_of(wire.offset), Probe::No),
        Attributes::GivenButOne => listing.nodes(dir, cookie_of(wire.offset), Probe::Yes),
    };
    listing.finish(listed)
}

/// Where the filesystem goes on at an offset of the wire.
const fn cookie_of(offset: u64) -> Cookie {
    match offset {
        LAST_OFFSET => Cookie(LAST_OFFSET),
        _ => Cookie(offset.saturating_sub(OWN_OFFSETS)),
    }
}

/// The offset that stands for a cookie of the filesystem.
fn offset_of(cookie: Cookie) -> u64 {
    cookie.0.saturating_add(OWN_OFFSETS).min(LAST_OFFSET)
}

/// The format of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `struct fuse_dirent`
    Names,
    /// `struct fuse_direntplus`
    NamesAndNodes,
}

/// Whether one file is listed without its node, to see whether somebody misses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    No,
    Yes,
}

/// Whether an entry was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Was,
    Lacks,
}

/// A listing under way.
struct Listing<'a, 'b> {
    cx: &'a Connection,
    format: Format,
    /// How many bytes the reader takes.
    limit: usize,
    reply: &'a mut Reply<'b>,
    /// An entry did not fit.
    full: bool,
}

impl<'a, 'b> Listing<'a, 'b> {
    fn new(
        cx: &'a Connection,
        format: Format,
        size: u32,
        reply: &'a mut Reply<'b>,
    ) -> Result<Self, Errno> {
        Ok(Self {
            cx,
            format,
            limit: usize::try_from(size).map_err(|_| Errno::INVAL)?,
            reply,
            full: false,
        })
    }

    /// Puts `.` and `..` as far as `offset` is before them.
    fn own_entries(&mut self, dir: NodeId, offset: u64) -> Result<(), Errno> {
        if offset >= OWN_OFFSETS {
            return Ok(());
        }
        let ino = self.cx.fs.get_attr(dir)?.ino;
        let kind = Some(FileType::Directory);
        if offset == 0 {
            self.put(b".", ino, kind, 1, None);
        }
        // The filesystem does not tell the parent. The kernel's own lookups of `..` never come here, and readers of
        // d_ino cannot rely on that of `..`: a mount point has that of the directory below.
        self.put(b"..", ino, kind, OWN_OFFSETS, None);
        Ok(())
    }

    /// Puts the filesystem's names.
    fn names(&mut self, dir: NodeId, from: Cookie) -> Result<(), Errno> {
        let cx = self.cx;
        cx.fs
            .read_dir(dir, from, &mut |listed| self.put_listed(listed, None))
    }

    /// Puts the filesystem's names with their nodes.
    fn nodes(&mut self, dir: NodeId, from: Cookie, mut probe: Probe) -> Result<(), Errno> {
        let cx = self.cx;
        let mut left_out = None;
        let listed = cx
            .fs
            .read_dir_plus(dir, from, &mut |listed, node: &ListedNode| {
                let Some(entry) = node else {
                    return self.put_listed(listed, None);
                };
                if probe == Probe::Yes && entry.attr.kind != FileType::Directory {
                    let flow = self.put_listed(listed, None);
                    if flow == Flow::Continue {
                        probe = Probe::No;
                        left_out = Some(entry.node);
                        cx.advice.left_out(dir, listed.name);
                    }
                    return flow;
                }
                // The reference is counted once the entry is in the reply: a refused one is the filesystem's to end.
                if self.lacks_room(listed.name.as_bytes()) {
                    self.full = true;
                    return Flow::Stop;
                }
                self.put_listed(listed, Some(cx.entry_out(entry)))
            });
        // Not within the listing: the filesystem may hold its directory there.
        if let Some(node) = left_out {
            cx.fs.forget(node, 1);
        }
        listed
    }

    fn put_listed(&mut self, listed: DirEntry<'_>, entry: Option<EntryOut>) -> Flow {
        let (name, offset) = (listed.name.as_bytes(), offset_of(listed.cookie));
        match self.put(name, listed.ino, listed.kind, offset, entry) {
            Room::Was => Flow::Continue,
            Room::Lacks => Flow::Stop,
        }
    }

    fn record_len(&self, name: &[u8]) -> usize {
        let head = match self.format {
            Format::Names => size_of::<Dirent>(),
            Format::NamesAndNodes => size_of::<DirentPlus>(),
        };
        padded(head + name.len())
    }

    fn lacks_room(&self, name: &[u8]) -> bool {
        let end = self.reply.len() + self.record_len(name);
        end > self.limit || end > self.reply.capacity()
    }

    fn put(
        &mut self,
        name: &[u8],
        ino: Ino,
        kind: Option<FileType>,
        off: u64,
        entry: Option<EntryOut>,
    ) -> Room {
        if self.full || self.lacks_room(name) {
            self.full = true;
            return Room::Lacks;
        }
        let dirent = Dirent {
            ino: entry.map_or(ino.0, |entry| entry.attr.ino),
            off,
            namelen: u32::try_from(name.len()).unwrap_or(u32::MAX),
            kind: kind.map_or(0, FileType::dirent),
        };
        let end = self.reply.len() + self.record_len(name);
        let entry = entry.unwrap_or_else(|| self.cx.no_entry());
        let put = match self.format {
            Format::Names => self.reply.put(&dirent),
            Format::NamesAndNodes => self.reply.put(&DirentPlus { entry, dirent }),
        };
        let padding = [0; 8];
        let put = put
            .and_then(|()| self.reply.put_bytes(name))
            .and_then(|()| {
                let gap = end.saturating_sub(self.reply.len());
                self.reply.put_bytes(padding.get(..gap).unwrap_or_default())
            });
        // There was room, so this cannot fail.
        put.map_or(Room::Lacks, |()| Room::Was)
    }

    /// Ends the listing.
    ///
    /// # Errors
    ///
    /// - That of the filesystem, if it came before the first entry; a later one comes back with the next request.
    /// - `EINVAL`: the reader's buffer has no room for a single entry.
    fn finish(self, listed: Result<(), Errno>) -> Result<(), Errno> {
        match (self.reply.len(), listed) {
            (0, Err(errno)) => Err(errno),
            (0, Ok(())) if self.full => Err(Errno::INVAL),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_survives_the_wire() {
        for cookie in [0, 1, 2, 3, 1 << 62, (1 << 63) - 8, LAST_OFFSET] {
            assert_eq!(cookie_of(offset_of(Cookie(cookie))), Cookie(cookie));
        }
    }

    #[test]
    fn no_cookie_takes_the_place_of_the_own_entries() {
        for cookie in [1, 2, 3, 1000, u64::MAX] {
            assert!(offset_of(Cookie(cookie)) > OWN_OFFSETS);
        }
        assert_eq!(cookie_of(OWN_OFFSETS), Cookie::START);
        assert_eq!(cookie_of(0), Cookie::START);
    }

    #[test]
    fn an_offset_is_never_negative_for_the_kernel() {
        for cookie in [LAST_OFFSET - 2, LAST_OFFSET - 1, LAST_OFFSET, u64::MAX] {
            assert_eq!(offset_of(Cookie(cookie)), LAST_OFFSET);
        }
    }
}
