//! Listing a directory.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use mica_sys::xattr::Object;
use mica_vfs::{Cookie, DirEntry, Errno, FileName, FileType, Flow, Ino, NodeId};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, openat, seek};

use crate::HostFs;
use crate::attr::{Ids, stat_entry};
use crate::node::ObjectId;
use crate::open::OpenDir;
use crate::owners;
use crate::tree::Tree;

/// What one getdents64(2) reads.
const BUFFER: usize = 32 * 1024;

impl HostFs {
    /// Lists with a descriptor of its own each time: the position in a directory belongs to the open file, and a
    /// listing from the start must see the present.
    pub(crate) fn list(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno> {
        let open = self.dir(dir)?;
        let object = self.table.read()?.node(dir)?.object;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let stream =
            self.open_noatime(|noatime| openat(&open.fd, c".", flags | noatime, Mode::empty()))?;
        if from != Cookie::START {
            seek(&stream, SeekFrom::Start(from.0))?;
        }
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(&stream, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            // `.` and `..` are no names, and so fail the check.
            let Ok(name) = FileName::new(entry.file_name().to_bytes()) else {
                continue;
            };
            let kind = FileType::from_mode(entry.file_type().as_raw_mode());
            let (ino, kind) = match &self.tree {
                None => (Ino(entry.ino()), kind),
                Some(tree) => {
                    let told = (Ino(entry.ino()), kind);
                    match listed_in_tree(tree, object, (&open, entry.file_name()), told)? {
                        Some(listed) => listed,
                        None => continue,
                    }
                }
            };
            let listed = DirEntry {
                name,
                ino,
                kind: owners::listed(
                    self.owners,
                    Object::Entry(open.fd.as_fd(), entry.file_name()),
                    kind,
                ),
                cookie: Cookie(entry.next_entry_cookie()),
            };
            if sink(listed) == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}

/// Returns number and type of a name in a directory of a tree of mounts; `None` if the layer does not have it.
fn listed_in_tree(
    tree: &Tree,
    dir: ObjectId,
    (open, name): (&OpenDir, &CStr),
    (ino, kind): (Ino, Option<FileType>),
) -> Result<Option<(Ino, Option<FileType>)>, Errno> {
    if tree.must_look_in(dir.dev(), dir.ino()) {
        match stat_entry(open.fd.as_fd(), name, Ids::Mounts) {
            Ok(told) if tree.refuse_hidden(&told).is_err() => return Ok(None),
            Ok(told) => return Ok(Some((tree.number(told.dev, told.ino)?, Some(told.kind)))),
            // It went away meanwhile, or cannot be looked at: as it is listed.
            Err(_) => {}
        }
    }
    Ok(Some((tree.number(dir.dev(), ino)?, kind)))
}
