//! Renaming, and following it in the node table.

use std::os::fd::AsFd;

use mica_vfs::{Errno, FileName, NodeId, RenameFlags};
use rustix::fs::{RenameFlags as HostFlags, renameat_with};

use crate::HostFs;
use crate::attr::stat_entry;
use crate::entry_name::EntryName;
use crate::node::ObjectId;
use crate::open::OpenDir;
use crate::remove::Changing;

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
        let other = match self.doom(&to_dir, to.1) {
            Ok(doomed) => Some(doomed),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno),
        };
        let renamed = renameat_with(
            &from_dir.fd,
            from.1.as_bytes(),
            &to_dir.fd,
            to.1.as_bytes(),
            HostFlags::from_bits_retain(flags.bits()),
        );
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        // Renaming one link of a file over another does nothing at all.
        let same = other.as_ref().is_some_and(|other| other.object == moved);
        if let Some(other) = &other
            && (exchange || same || renamed.is_err())
        {
            self.spare(other)?;
        }
        renamed?;
        if same && !exchange {
            return Ok(());
        }
        changing.end(|table| {
            let mut discards = Vec::with_capacity(2);
            match &other {
                Some(other) if exchange => discards.push(table.moved(other.object, to, from)),
                Some(other) => discards.push(self.bury(table, other, to)),
                None => {}
            }
            discards.push(table.moved(moved, from, to));
            discards
        })
    }
}

fn object_at(dir: &OpenDir, name: FileName<'_>) -> Result<ObjectId, Errno> {
    let name = EntryName::new(name.as_bytes());
    stat_entry(dir.fd.as_fd(), name.as_c_str()).map(|attr| ObjectId::of(&attr))
}
