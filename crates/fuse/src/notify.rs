//! Telling the kernel that what it caches is out of date.
//!
//! A notification is a write to the device like a reply, and may come from within a request. Those sent here take no
//! lock that a waiting request holds: the kernel marks attributes as old, or drops the listing's pages, which no READDIR
//! keeps locked while it waits.

use std::os::fd::OwnedFd;
use std::sync::Weak;

use mica_vfs::{Errno, NodeId, Observer};
use zerocopy::IntoBytes;

use crate::wire::{InvalInodeOut, NOTIFY_INVAL_INODE, OutHeader};

/// Sends notifications for as long as the session lives.
#[derive(Debug)]
pub(crate) struct Notifier {
    device: Weak<OwnedFd>,
}

/// What the kernel drops of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drops {
    Attributes,
    /// The attributes and all pages: of a directory, its listing.
    Everything,
}

impl Notifier {
    pub(crate) fn new(device: Weak<OwnedFd>) -> Self {
        Self { device }
    }

    fn invalidate(&self, node: NodeId, drops: Drops) {
        let Some(device) = self.device.upgrade() else {
            return;
        };
        let message = InvalInodeOut {
            header: OutHeader {
                len: u32::try_from(size_of::<InvalInodeOut>()).unwrap_or(u32::MAX),
                error: NOTIFY_INVAL_INODE,
                unique: 0,
            },
            ino: node.0,
            // A negative offset leaves the pages alone; from 0 on with no length, they all go.
            off: match drops {
                Drops::Attributes => -1,
                Drops::Everything => 0,
            },
            len: 0,
        };
        match rustix::io::write(&device, message.as_bytes()) {
            // ENOENT: the kernel has forgotten the node, or never knew it.
            Ok(_) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => tracing::warn!(%errno, node = node.0, "notification was not taken"),
        }
    }
}

impl Observer for Notifier {
    fn attributes_changed(&self, node: NodeId) {
        self.invalidate(node, Drops::Attributes);
    }

    fn numbers_changed(&self, dir: NodeId) {
        self.invalidate(dir, Drops::Everything);
    }
}
