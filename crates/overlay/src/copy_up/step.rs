//! The steps of a copy-up, by name.

use std::fmt;

/// The steps of a copy-up, in order; none takes all of them. The name of the one that failed is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CopyUpStep {
    /// Reading the lower object's attributes.
    Read,
    /// Marking the parent as impure.
    Impure,
    /// Making the temporary.
    Create,
    /// Copying the data.
    Data,
    /// Setting owner and group. After the data: a write drops setuid.
    Owner,
    /// Copying extended attributes and ACLs. After the owner: a chown drops `security.capability`.
    Xattrs,
    /// Copying file flags. After the owner, who may set them.
    Flags,
    /// Noting where it came from.
    Origin,
    /// Giving a metacopy the size that its data has.
    Size,
    /// Marking it as a metacopy.
    Mark,
    /// Setting the permissions. After the ACL, whose mask they are.
    Mode,
    /// Setting the times. After all that changes them.
    Times,
    /// Truncating the copy, where that is what it is made for.
    Change,
    /// Copying data into a metacopy of the upper, which is no temporary.
    LateData,
    /// Setting again what that changed: `security.capability`, permissions, times.
    LateMetadata,
    /// Putting the copy on disk.
    Sync,
    /// Removing the mark of a metacopy, whose data is its own from then on.
    Unmark,
    /// Renaming it into place.
    Publish,
}

impl CopyUpStep {
    /// All of them, in order.
    pub const ALL: [Self; 18] = [
        Self::Read,
        Self::Impure,
        Self::Create,
        Self::Data,
        Self::Owner,
        Self::Xattrs,
        Self::Flags,
        Self::Origin,
        Self::Size,
        Self::Mark,
        Self::Mode,
        Self::Times,
        Self::Change,
        Self::LateData,
        Self::LateMetadata,
        Self::Sync,
        Self::Unmark,
        Self::Publish,
    ];
}

impl fmt::Display for CopyUpStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
