//! The table of what can be wrong: one row for each refusal and each silent downgrade.
//!
//! A row has a name that stays, for programs that read a diagnosis and for tests, and what the kernel's overlayfs (Linux 6.18)
//! does in that case: its errno, or nothing at all, and the words in its log. The words for people are those of the errors of
//! a mount ([`OptionError`](crate::OptionError), [`StackError`](crate::StackError), [`MountError`](crate::MountError)) where
//! Mica refuses, too, and stand where a case is judged otherwise.

use mica_vfs::Errno;

/// A case that doctor knows.
#[derive(Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub id: &'static str,
    /// What the kernel's overlayfs does then.
    pub kernel: Reaction,
    /// What the kernel's log says, if anything: a part of the line that is the same for all paths.
    pub log: &'static str,
}

/// What the kernel's overlayfs does in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// It refuses the mount.
    Refuses(Errno),
    /// It mounts, and something is not as asked for.
    Mounts,
    /// It mounts; operations on the objects concerned fail.
    Fails(Errno),
    /// It has nothing to do with it.
    None,
}

macro_rules! rows {
    ($($name:ident $id:literal $kernel:expr, $log:literal;)*) => {
        $(pub(crate) const $name: Row = Row { id: $id, kernel: $kernel, log: $log };)*
        /// All cases.
        pub const ROWS: &[Row] = &[$($name),*];
    };
}

use Reaction::{Fails, Mounts, Refuses};
const INVAL: Reaction = Refuses(Errno::INVAL);
const NONE: Reaction = Reaction::None;

rows! {
    // Options.
    NO_LOWER "no-lower" INVAL, "missing 'lowerdir'";
    NO_WORK "upper-without-work" INVAL, "missing 'workdir'";
    NO_UPPER "work-without-upper" Mounts, "is useless in a non-upper mount, ignore";
    SINGLE_LOWER "single-lower" INVAL, "at least 2 lowerdir are needed while upperdir nonexistent";
    ONLY_DATA "only-data-layers" INVAL, "cannot append lower layer";
    ONLY_DATADIRS "only-datadirs" INVAL, "at least one non-data lowerdir is required";
    COLONS "colons" INVAL, "colons";
    LOWER_AFTER_DATA "lower-after-data" INVAL, "regular lower layers cannot follow data lower layers";
    TOO_MANY_LOWERS "too-many-lowers" INVAL, "too many lower directories, limit is 500";
    UNKNOWN_OPTION "unknown-option" INVAL, "Unknown parameter";
    BAD_VALUE "bad-value" INVAL, "Bad value for";
    OPTIONS_CUT "options-cut" Refuses(Errno::NOENT), "failed to resolve";
    METACOPY_CONFLICT "metacopy-conflict" INVAL, "conflicting options: metacopy=on,redirect_dir=";
    NFS_EXPORT_CONFLICT "nfs-export-conflict" INVAL, "conflicting options: nfs_export=on,";
    USERXATTR_CONFLICT "userxattr-conflict" INVAL, "conflicting options: userxattr,";
    VERITY_CONFLICT "verity-conflict" INVAL, "conflicting options: metacopy=off,verity=";
    OPTION_REFUSED "option-refused" NONE, "";
    // Who mounts.
    NOT_PERMITTED "not-permitted" Refuses(Errno::PERM), "";
    NO_OVERLAYFS "no-overlayfs" Refuses(Errno::NODEV), "";
    OLD_USERNS "old-user-namespace" Refuses(Errno::PERM), "";
    OTHER_USERNS "other-user-namespace" Refuses(Errno::PERM), "";
    TRUSTED_REDIRECTS "trusted-redirects" Refuses(Errno::PERM), "requires permission to access trusted xattrs";
    TRUSTED_XATTRS "trusted-xattrs" Mounts, "try mounting with 'userxattr' option";
    INDEX_DROPPED "index-dropped" Mounts, "does not support file handles, falling back to index=off";
    UNMAPPED_IDS "unmapped-ids" Fails(Errno::OVERFLOW), "";
    // Directories.
    MISSING "missing" Refuses(Errno::NOENT), "failed to resolve";
    NOT_DIRECTORY "not-a-directory" INVAL, "is not a directory";
    CLOSED "closed" Refuses(Errno::ACCESS), "failed to resolve";
    SAME "same-directory" Refuses(Errno::LOOP), "conflicting";
    LOWER_INSIDE "lower-inside" Refuses(Errno::LOOP), "overlapping lowerdir path";
    INSIDE_LOWER "inside-lower" Fails(Errno::LOOP), "";
    WORK_NESTED "work-nested" INVAL, "workdir and upperdir must be separate subtrees";
    WORK_APART "work-apart" INVAL, "workdir and upperdir must reside under the same mount";
    IN_USE "in-use" Mounts, "accessing files from both mounts will result in undefined behavior";
    IN_USE_INDEX "in-use-index" Refuses(Errno::BUSY), "to override exclusive upperdir protection";
    LOWER_IN_USE "lower-in-use" Mounts, "accessing files from both mounts will result in undefined behavior";
    LOWER_IN_USE_INDEX "lower-in-use-index" Refuses(Errno::BUSY), "to override exclusive upperdir protection";
    OTHER_LOWER "other-lower" Refuses(Errno::STALE), "failed to verify upper root origin";
    STALE_INDEX "stale-index" Refuses(Errno::STALE), "failed to verify index dir 'upper' xattr";
    INDEX_LEFT "index-left" Mounts, "";
    INCOMPATIBLE "incompatible" INVAL, "cannot be mounted";
    WORK_KEPT "work-kept" Mounts, "mounting read-only";
    FOREIGN "foreign-marks" Mounts, "";
    METACOPY_REFUSED "metacopy-refused" Fails(Errno::PERM), "refusing to follow metacopy origin for";
    REDIRECT_REFUSED "redirect-refused" Fails(Errno::PERM), "refusing to follow redirect for";
    METACOPY_NO_DATA "metacopy-no-data" Fails(Errno::IO), "metacopy with no lower data found";
    NO_DIGEST "no-digest" Fails(Errno::IO), "digest";
    WRONG_DIGEST "wrong-digest" Fails(Errno::IO), "fs-verity digest";
    // Filesystems.
    UPPER_READ_ONLY "upper-read-only" INVAL, "is read-only";
    WRITEBACK_ERROR "writeback-error" Refuses(Errno::IO), "upperdir has an unseen error";
    UPPER_ON_OVERLAY "upper-on-overlay" INVAL, "not supported as upperdir";
    TOO_DEEP "too-deep" INVAL, "maximum fs stacking depth exceeded";
    NOT_SUPPORTED "not-supported" INVAL, "not supported";
    CASEFOLD "casefold" INVAL, "case-";
    REMOTE_UPPER "remote-upper" INVAL, "upper fs missing required features";
    NO_D_TYPE "no-d-type" Mounts, "upper fs needs to support d_type";
    NO_WHITEOUT "no-whiteout" Mounts, "";
    NO_RENAME_WHITEOUT "no-rename-whiteout" Mounts, "upper fs does not support RENAME_WHITEOUT";
    NO_TMPFILE "no-tmpfile" Mounts, "upper fs does not support tmpfile";
    NO_XATTR "no-xattr" Mounts, "failed to set xattr on upper";
    TMPFS_USER_XATTR "tmpfs-user-xattr" Mounts, "failed to set xattr on upper";
    NO_HANDLES "no-handles" Mounts, "does not support file handles, falling back to";
    SAME_UUID "same-uuid" Mounts, "uuid detected in lower fs";
    // FUSE.
    FUSE_MISSING "fuse-missing" NONE, "";
    FUSE_CLOSED "fuse-closed" NONE, "";
    FUSE_REFUSED "fuse-refused" NONE, "";
    FUSE_TOO_OLD "fuse-too-old" NONE, "";
    HELPER_MISSING "fusermount-missing" NONE, "";
    HELPER_POWERLESS "fusermount-powerless" NONE, "";
    NOT_FOR_OTHERS "user-allow-other" NONE, "";
    ALLOW_ROOT "allow-root" NONE, "";
    NO_EFFECT "no-effect" NONE, "";
    FEW_FILES "open-files" NONE, "";
    OTHER "other" NONE, "";
}
