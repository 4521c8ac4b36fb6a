//! Renaming, and following it in the node table.

use std::os::fd::AsFd;

use mica_vfs::{Errno, FileName, NodeId, RenameFlags};
use rustix::fs::{RenameFlags as HostFlags, renameat_with};

use crate::HostFs;
use crate::attr::{Ids, stat_entry};
use crate::closed;
use crate::entry_name::EntryName;
use crate::node::ObjectId;
use crate::open::OpenDir;
use crate::remove::{Changing, Doomed};

/// What is at the new name.
enum Target {
    Nothing,
    /// It goes away.
    Replaced(Doomed),
    /// It takes the old name. It loses none, so it needs no descriptor meanwhile.
    Exchanged(ObjectId),
}

impl HostFs {
    pub(crate) fn move_name(
        &self,
        from: (NodeId, FileName<'_>),
        to: (NodeId, FileName<'_>),
        flags: RenameFlags,
    ) -> Result<(), Errno> {
        let (from_dir, to_dir) = (self.dir(from.0)?, self.dir(to.0)?);
        let changing = Changing::begin(self, [from.0, to.0])?;
        let moved = object_at(&from_dir, from.1)?;
        let target = if flags.contains(RenameFlags::EXCHANGE) {
            Target::Exchanged(object_at(&to_dir, to.1)?)
        } else {
            self.replaced(&to_dir, to.1)?
        };
        let rename = || {
            renameat_with(
                &from_dir.fd,
                from.1.as_bytes(),
                &to_dir.fd,
                to.1.as_bytes(),
                HostFlags::from_bits_retain(flags.bits()),
            )
        };
        let renamed = match rename() {
            Err(Errno::ACCESS) => {
                // A directory that gets another parent has to be writable, too (vfs_rename).
                let dirs = [
                    closed::directory(&from_dir.fd, from.1),
                    closed::directory(&to_dir.fd, to.1),
                ];
                let mut objects = vec![from_dir.fd.as_fd(), to_dir.fd.as_fd()];
                objects.extend(dirs.iter().flatten().map(AsFd::as_fd));
                closed::with_write(&objects, rename)
            }
            renamed => renamed,
        };
        if let Target::Replaced(doomed) = &target {
            // Renaming one link of a file over another does nothing at all.
            let same = doomed.object == moved;
            if same || renamed.is_err() {
                self.spare(doomed)?;
            }
            if same {
                return renamed;
            }
        }
        renamed?;
        changing.end(|table| {
            let mut discards = Vec::with_capacity(2);
            match &target {
                Target::Exchanged(other) => discards.push(table.moved(*other, to, from)),
                Target::Replaced(doomed) => discards.push(self.bury(table, doomed, to)),
                Target::Nothing => {}
            }
            discards.push(table.moved(moved, from, to));
            discards
        })
    }

    /// Opens what a rename to `name` replaces.
    fn replaced(&self, dir: &OpenDir, name: FileName<'_>) -> Result<Target, Errno> {
        match self.doom(dir, name) {
            Ok(doomed) => Ok(Target::Replaced(doomed)),
            Err(Errno::NOENT) => Ok(Target::Nothing),
            // An open asks for a descriptor before it looks at the name.
            Err(errno @ (Errno::MFILE | Errno::NFILE)) => match object_at(dir, name) {
                Err(Errno::NOENT) => Ok(Target::Nothing),
                _ => Err(errno),
            },
            Err(errno) => Err(errno),
        }
    }
}

fn object_at(dir: &OpenDir, name: FileName<'_>) -> Result<ObjectId, Errno> {
    let name = EntryName::new(name.as_bytes());
    stat_entry(dir.fd.as_fd(), name.as_c_str(), Ids::Devices).map(|attr| ObjectId::of(&attr))
}
