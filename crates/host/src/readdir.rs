//! Listing a directory.

use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use mica_sys::xattr::Object;
use mica_vfs::{Cookie, DirEntry, Errno, FileName, FileType, Flow, Ino, NodeId};
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, openat, seek};

use crate::HostFs;
use crate::owners;

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
            let listed = DirEntry {
                name,
                ino: Ino(entry.ino()),
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
