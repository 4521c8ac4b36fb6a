//! The kinds of calls that can fail.

use std::fmt;

/// A method of [`Filesystem`](mica_vfs::Filesystem) that can fail. `read_dir_plus` is the lookups and the `read_dir` that it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Call {
    SetAttr,
    SetXattr,
    RemoveXattr,
    SetFileFlags,
    Create,
    Mkdir,
    Mknod,
    Symlink,
    Tmpfile,
    Link,
    Unlink,
    Rmdir,
    Rename,
    Write,
    Fallocate,
    CopyRange,
    CopyFrom,
    Fsync,
    Lookup,
    ReadDir,
    ReadLink,
    GetAttr,
    GetXattr,
    ListXattr,
    FileFlags,
    Read,
    Seek,
    HostFile,
    StatFs,
    FileHandle,
    AttrByHandle,
}

impl Call {
    /// Those that change something, and `fsync`.
    pub const CHANGES: [Self; 18] = [
        Self::SetAttr,
        Self::SetXattr,
        Self::RemoveXattr,
        Self::SetFileFlags,
        Self::Create,
        Self::Mkdir,
        Self::Mknod,
        Self::Symlink,
        Self::Tmpfile,
        Self::Link,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Write,
        Self::Fallocate,
        Self::CopyRange,
        Self::CopyFrom,
        Self::Fsync,
    ];

    /// Those that do not.
    pub const READS: [Self; 13] = [
        Self::Lookup,
        Self::ReadDir,
        Self::ReadLink,
        Self::GetAttr,
        Self::GetXattr,
        Self::ListXattr,
        Self::FileFlags,
        Self::Read,
        Self::Seek,
        Self::HostFile,
        Self::StatFs,
        Self::FileHandle,
        Self::AttrByHandle,
    ];

    /// Returns the name of the method.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SetAttr => "set_attr",
            Self::SetXattr => "set_xattr",
            Self::RemoveXattr => "remove_xattr",
            Self::SetFileFlags => "set_file_flags",
            Self::Create => "create",
            Self::Mkdir => "mkdir",
            Self::Mknod => "mknod",
            Self::Symlink => "symlink",
            Self::Tmpfile => "tmpfile",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Rmdir => "rmdir",
            Self::Rename => "rename",
            Self::Write => "write",
            Self::Fallocate => "fallocate",
            Self::CopyRange => "copy_range",
            Self::CopyFrom => "copy_from",
            Self::Fsync => "fsync",
            Self::Lookup => "lookup",
            Self::ReadDir => "read_dir",
            Self::ReadLink => "read_link",
            Self::GetAttr => "get_attr",
            Self::GetXattr => "get_xattr",
            Self::ListXattr => "list_xattr",
            Self::FileFlags => "file_flags",
            Self::Read => "read",
            Self::Seek => "seek",
            Self::HostFile => "host_file",
            Self::StatFs => "stat_fs",
            Self::FileHandle => "file_handle",
            Self::AttrByHandle => "attr_by_handle",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
