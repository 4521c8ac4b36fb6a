//! Whiteouts: names that hide what lies below.
//!
//! Two forms are read: a character device 0:0, and an empty regular file with the attribute `whiteout` (OVL-3, OVL-4).
//! The first is written. All whiteouts of a mount are links to one device node in the work directory, as the kernel's
//! are: a link is published by one call and takes no inode.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mica_vfs::{Attr, Errno, FileName, FileNameBuf, FileType, Mode, Rdev, RenameFlags};

use crate::marks::Marks;
use crate::node::XattrWhiteouts;
use crate::overlay::Overlay;
use crate::stack::{LayerIdx, LayerNode};
use crate::work::Temp;

/// Whether `attr` is that of a whiteout in the device form.
pub(crate) fn is_device_whiteout(attr: &Attr) -> bool {
    attr.kind == FileType::CharDevice && attr.rdev == Rdev::WHITEOUT
}

/// Whether `attr` may be that of a whiteout in the xattr form; the attribute decides.
pub(crate) fn may_be_xattr_whiteout(attr: &Attr) -> bool {
    attr.kind == FileType::Regular && attr.size == 0
}

impl Overlay {
    /// Whether an object of a layer is a whiteout, in either form (OVL-3, OVL-4).
    pub(crate) fn is_whiteout(&self, node: &LayerNode, attr: &Attr) -> Result<bool, Errno> {
        if is_device_whiteout(attr) {
            return Ok(true);
        }
        Ok(may_be_xattr_whiteout(attr) && self.marks(node)?.contains(Marks::WHITEOUT))
    }

    /// Whether a listing must look at `kind` to tell a whiteout from a file. Device nodes are rare; empty files are not,
    /// so the xattr form is listed as a whiteout only where the directory says that it occurs (OVL-6).
    pub(crate) fn listing_must_look(
        layer: LayerIdx,
        whiteouts: XattrWhiteouts,
        kind: Option<FileType>,
    ) -> bool {
        match kind {
            None | Some(FileType::CharDevice) => true,
            Some(FileType::Regular) => {
                layer != LayerIdx::UPPER && whiteouts == XattrWhiteouts::Possible
            }
            Some(_) => false,
        }
    }

    /// Puts a whiteout at `name` of upper directory `dir`, where no name is. The caller is in the directory's gate.
    pub(crate) fn whiteout_at(&self, dir: &LayerNode, name: FileName<'_>) -> Result<(), Errno> {
        let shared = self.shared_whiteout()?;
        match dir.fs().link(shared.node.id, dir.id, name) {
            Ok(entry) => dir.fs().forget(entry.node, 1),
            // A filesystem limits the links of an inode (65,000 on ext4), or has none: this one is used up where it is needed,
            // and the next whiteout starts a new one (ovl_whiteout).
            Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
                self.use_up(&shared, dir, name)?
            }
            Err(errno) => return Err(errno),
        }
        self.counters.whiteouts.fetch_add(1, Relaxed);
        Ok(())
    }

    /// Makes a whiteout under a temporary name in the work directory.
    pub(crate) fn whiteout_temp(&self) -> Result<Temp<'_>, Errno> {
        let work = self.work()?;
        let name = work.temp_name();
        self.whiteout_at(&work.dir, name.as_name())?;
        Ok(work.temp(name, FileType::CharDevice))
    }

    /// Returns the whiteout that others are links to.
    fn shared_whiteout(&self) -> Result<Arc<SharedWhiteout>, Errno> {
        let work = self.work()?;
        if let Some(shared) = &*work.whiteout.lock()? {
            return Ok(Arc::clone(shared));
        }
        let fresh = Arc::new(self.make_whiteout()?);
        let old = work.whiteout.lock()?.replace(Arc::clone(&fresh));
        // Its name in the work directory keeps it linkable; the links elsewhere are whiteouts in their own right.
        drop(old);
        Ok(fresh)
    }

    /// Makes a device node for whiteouts in the work directory.
    fn make_whiteout(&self) -> Result<SharedWhiteout, Errno> {
        let work = self.work()?;
        let name = work.temp_name();
        let (kind, mode) = (FileType::CharDevice, Mode::empty());
        let (mounter, dir) = (&self.config.mounter, &work.dir);
        let entry = dir
            .fs()
            .mknod(mounter, dir.id, name.as_name(), kind, mode, Rdev::WHITEOUT)?;
        let node = LayerNode::adopt(&dir.layer, &entry);
        Ok(SharedWhiteout { name, node })
    }

    /// Moves the whiteout that others were links to to where one is needed, or a new one if somebody else does that.
    fn use_up(
        &self,
        shared: &Arc<SharedWhiteout>,
        dir: &LayerNode,
        name: FileName<'_>,
    ) -> Result<(), Errno> {
        let work = self.work()?;
        let taken = {
            let mut current = work.whiteout.lock()?;
            let still = current.as_ref().is_some_and(|now| Arc::ptr_eq(now, shared));
            if still { current.take() } else { None }
        };
        let from = match taken {
            Some(whiteout) => whiteout.name.as_name().to_owned(),
            None => self.make_whiteout()?.name,
        };
        work.temp(from, FileType::CharDevice)
            .publish(dir, name, RenameFlags::empty())
    }
}

/// The whiteout that others are links to.
#[derive(Debug)]
pub(crate) struct SharedWhiteout {
    /// Its name in the work directory.
    name: FileNameBuf,
    node: LayerNode,
}
