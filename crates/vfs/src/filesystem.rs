//! The [`Filesystem`] trait and the values that pass through it.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bitflags::bitflags;

use crate::{
    Attr, Caller, Cookie, DirEntry, Errno, FileName, FileType, Flow, ListedNode, Mode, Protection,
    Rdev, Rights, SetAttr, StatFs, Time, XattrMode, XattrName,
};

/// Names an object of one [`Filesystem`] while somebody holds a reference on it.
///
/// It says nothing of `st_ino` and nothing of where the object lies. It is never 0; [`NodeId::ROOT`] is the
/// root of a filesystem and needs no reference. The values are FUSE nodeids, too: they may be handed to
/// another server, so they hold no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root directory, `FUSE_ROOT_ID`.
    pub const ROOT: Self = Self(1);
}

/// An object that was found or made: its node, with one reference for the receiver, and its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The node. The receiver ends its reference by [`Filesystem::forget`].
    pub node: NodeId,
    /// Its attributes.
    pub attr: Attr,
}

/// Whether a change of data drops setuid and setgid, as it does for a caller without `CAP_FSETID`.
/// File capabilities (`security.capability`) are dropped by every write, truncation and chown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KillPriv {
    /// The caller has `CAP_FSETID`: the bits stay.
    #[default]
    Keep,
    /// The bits go.
    Clear,
}

/// How much an fsync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncScope {
    /// fdatasync(2): the data and what is needed to read it back.
    Data,
    /// fsync(2): the data and all attributes.
    All,
}

/// Who changes a filesystem while it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coherence {
    /// Nobody but its user, who may remember what it was told.
    #[default]
    Exclusive,
    /// Others, too: what was told may be out of date.
    Shared,
}

/// By what it is told whether a file was changed: as long as two are equal, data and attributes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataVersion {
    /// Only the user of the filesystem changes the file.
    Own,
    /// Others change it, too.
    Others {
        /// Its size.
        size: u64,
        /// Its last change of data.
        mtime: Time,
        /// Its last change of any kind.
        ctime: Time,
    },
}

impl DataVersion {
    /// Tells the version of a file that others change.
    #[must_use]
    pub const fn of(attr: &Attr) -> Self {
        Self::Others {
            size: attr.size,
            mtime: attr.mtime,
            ctime: attr.ctime,
        }
    }
}

/// What a program that opens a file gets.
#[derive(Debug, Default)]
pub struct Opened {
    /// While it is kept, the data of the node is read from it, whatever becomes of its name.
    pub file: Option<HostFile>,
    /// `None`: unknown.
    pub version: Option<DataVersion>,
}

/// What a host file is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// The two searches of lseek(2) that need the filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekFrom {
    /// `SEEK_DATA` from this offset.
    Data(u64),
    /// `SEEK_HOLE` from this offset.
    Hole(u64),
}

/// How the data of a file was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyMethod {
    /// The blocks are shared (`FICLONE`).
    Reflink,
    /// By the kernel (`copy_file_range`).
    CopyFileRange,
    /// Byte by byte through this process.
    Bytes,
}

bitflags! {
    /// Flags of renameat2(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail with `EEXIST` if the new name exists.
        const NOREPLACE = 1;
        /// Exchange the two names.
        const EXCHANGE = 2;
        /// Leave a whiteout at the old name.
        const WHITEOUT = 4;
    }

    /// Mode of fallocate(2). None: allocate, and grow the file.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct FallocateMode: u32 {
        /// The size stays.
        const KEEP_SIZE = 1;
        /// Free the range; it reads as zeros. Comes with `KEEP_SIZE`.
        const PUNCH_HOLE = 2;
        /// Remove the range and move what follows down.
        const COLLAPSE_RANGE = 8;
        /// Zero the range, allocated.
        const ZERO_RANGE = 16;
        /// Move what follows up.
        const INSERT_RANGE = 32;
        /// Unshare reflinked blocks.
        const UNSHARE_RANGE = 64;
    }

    /// File flags, the `FS_*_FL` bits of `FS_IOC_GETFLAGS` (chattr(1)).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct FileFlags: u32 {
        /// `FS_IMMUTABLE_FL`
        const IMMUTABLE = 0x10;
        /// `FS_APPEND_FL`
        const APPEND = 0x20;
        /// `FS_NOATIME_FL`
        const NOATIME = 0x80;
        /// `FS_SYNC_FL`
        const SYNC = 0x8;
        // Bits without a name here pass through unchanged.
        const _ = !0;
    }
}

impl FileFlags {
    /// The flags that protect an object.
    pub const PROTECTING: Self = Self::IMMUTABLE.union(Self::APPEND);

    /// Returns what these flags protect an object from.
    #[must_use]
    pub fn protection(self) -> Protection {
        let mut protection = Protection::empty();
        protection.set(Protection::APPEND, self.contains(Self::APPEND));
        protection.set(Protection::IMMUTABLE, self.contains(Self::IMMUTABLE));
        protection
    }
}

impl From<Protection> for FileFlags {
    fn from(protection: Protection) -> Self {
        let mut flags = Self::empty();
        flags.set(Self::APPEND, protection.contains(Protection::APPEND));
        flags.set(Self::IMMUTABLE, protection.contains(Protection::IMMUTABLE));
        flags
    }
}

/// The UUID of a filesystem, as it stands in file handles of the overlay format; zero if it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

/// A handle by which a filesystem finds an object again, across remounts (name_to_handle_at(2)).
#[derive(Clone, PartialEq, Eq)]
pub struct FileHandle {
    /// The filesystem's own type of handle; only the low 8 bits are ever stored.
    pub kind: i32,
    /// The opaque bytes, at most 128 (`MAX_HANDLE_SZ`).
    pub bytes: Box<[u8]>,
}

impl fmt::Debug for FileHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileHandle({}:", self.kind)?;
        self.bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        f.write_str(")")
    }
}

/// An open file of the host that holds the data of a node.
#[derive(Debug, Clone)]
pub struct HostFile(pub Arc<OwnedFd>);

impl AsFd for HostFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Is told when what it remembers of a filesystem is out of date though it asked for no change of it.
///
/// A front that caches knows what its own calls change: the object they name and its directory. A copy-up reaches
/// further. The methods must not call the filesystem back.
pub trait Observer: Send + Sync + fmt::Debug {
    /// The attributes of `node` changed, but not by a change that names it.
    fn attributes_changed(&self, node: NodeId);

    /// A name in `dir` is listed with another inode number.
    fn numbers_changed(&self, dir: NodeId);
}

/// A tree of files: a layer, or the union of some.
///
/// # References
///
/// A method that returns an [`Entry`] gives one reference on its node; [`forget`](Self::forget) ends it. While
/// a reference is held the node stays usable, also after its last name is gone. Two lookups of one object give
/// the same node.
///
/// # Errors
///
/// A method that does not fit the node's type fails as the system call does (`ENOTDIR`, `EISDIR`, `EINVAL`).
/// A node without a reference is `ESTALE`. A filesystem that cannot be written to is `EROFS`. A method that a
/// filesystem does not have is `EOPNOTSUPP`, as its default body says.
///
/// # Locks
///
/// Callers may use any method from any thread. Implementations hold no lock across I/O or a call of another
/// filesystem.
pub trait Filesystem: Send + Sync + fmt::Debug {
    // Names.

    /// Finds `name` in `dir`. `ENOENT` if there is none.
    fn lookup(&self, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno>;

    /// Ends `count` references on `node`. Unknown nodes are ignored.
    fn forget(&self, node: NodeId, count: u64);

    /// Lists `dir` from after `from`, until the end or until `sink` stops it. `.` and `..` are not listed.
    fn read_dir(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Flow,
    ) -> Result<(), Errno>;

    /// Lists `dir` as [`read_dir`](Self::read_dir) does, with each name's node and attributes.
    ///
    /// A name whose lookup fails is listed without them. If `sink` stops, the reference of the entry that it
    /// refused is ended here.
    fn read_dir_plus(
        &self,
        dir: NodeId,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &ListedNode) -> Flow,
    ) -> Result<(), Errno> {
        self.read_dir(dir, from, &mut |listed| {
            let node = self.lookup(dir, listed.name).ok();
            let flow = sink(listed, &node);
            if let (Flow::Stop, Some(entry)) = (flow, &node) {
                self.forget(entry.node, 1);
            }
            flow
        })
    }

    /// Reads the target of a symbolic link.
    fn read_link(&self, node: NodeId) -> Result<Vec<u8>, Errno>;

    // Attributes.

    /// Returns the attributes of `node`.
    fn get_attr(&self, node: NodeId) -> Result<Attr, Errno>;

    /// Changes attributes and returns all of them afterwards.
    fn set_attr(&self, node: NodeId, change: &SetAttr) -> Result<Attr, Errno>;

    /// Reads an extended attribute into `value` and returns its length; with an empty `value`, the length alone.
    /// `ENODATA` if there is none, `ERANGE` if `value` is too short.
    fn get_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &mut [u8],
    ) -> Result<usize, Errno>;

    /// Reads the names of all extended attributes, each ended by NUL, under the length rules of
    /// [`get_xattr`](Self::get_xattr).
    fn list_xattr(&self, node: NodeId, names: &mut [u8]) -> Result<usize, Errno>;

    /// Sets an extended attribute. `kill` applies to an access ACL: the setgid bit goes with it.
    fn set_xattr(
        &self,
        node: NodeId,
        name: XattrName<'_>,
        value: &[u8],
        mode: XattrMode,
        kill: KillPriv,
    ) -> Result<(), Errno>;

    /// Removes an extended attribute. `ENODATA` if there is none.
    fn remove_xattr(&self, node: NodeId, name: XattrName<'_>) -> Result<(), Errno>;

    /// Returns the file flags, `ENOTTY` where there are none.
    fn file_flags(&self, node: NodeId) -> Result<FileFlags, Errno> {
        let _ = node;
        Err(Errno::NOTTY)
    }

    /// Sets the file flags.
    fn set_file_flags(&self, node: NodeId, flags: FileFlags) -> Result<(), Errno> {
        let _ = (node, flags);
        Err(Errno::NOTTY)
    }

    /// Fails if the caller may not do all of `wanted` with `node`. A front asks where the kernel does not decide; a filesystem without
    /// callers of its own lets everything be done.
    ///
    /// # Errors
    ///
    /// `EACCES`, and what access(2) answers.
    fn access(&self, node: NodeId, wanted: Rights) -> Result<(), Errno> {
        let _ = (node, wanted);
        Ok(())
    }

    // Making and removing names. Each is atomic: the name appears complete, with its owner, mode and ACL.

    /// Makes a regular file. `EEXIST` if the name exists.
    fn create(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno>;

    /// Makes a directory.
    fn mkdir(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        mode: Mode,
    ) -> Result<Entry, Errno>;

    /// Makes an object of any type but a directory or a symbolic link; `rdev` counts for devices.
    fn mknod(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        kind: FileType,
        mode: Mode,
        rdev: Rdev,
    ) -> Result<Entry, Errno>;

    /// Makes a symbolic link to `target`.
    fn symlink(
        &self,
        caller: &Caller,
        dir: NodeId,
        name: FileName<'_>,
        target: &[u8],
    ) -> Result<Entry, Errno>;

    /// Makes a regular file without a name, `O_TMPFILE` in `dir`.
    fn tmpfile(&self, caller: &Caller, dir: NodeId, mode: Mode) -> Result<Entry, Errno> {
        let _ = (caller, dir, mode);
        Err(Errno::OPNOTSUPP)
    }

    /// Gives `node` one more name.
    fn link(&self, node: NodeId, dir: NodeId, name: FileName<'_>) -> Result<Entry, Errno>;

    /// Removes a name of anything but a directory.
    fn unlink(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno>;

    /// Removes an empty directory.
    fn rmdir(&self, dir: NodeId, name: FileName<'_>) -> Result<(), Errno>;

    /// Renames, as renameat2(2). A filesystem that lacks one of `flags` answers `EINVAL`.
    fn rename(
        &self,
        from_dir: NodeId,
        from: FileName<'_>,
        to_dir: NodeId,
        to: FileName<'_>,
        flags: RenameFlags,
    ) -> Result<(), Errno>;

    // Data. There are no open files: a node is read and written for as long as it is referenced.

    /// Reads at `offset`; fewer bytes than `data` holds only at the end of the file.
    fn read(&self, node: NodeId, offset: u64, data: &mut [u8]) -> Result<usize, Errno>;

    /// Writes at `offset` and returns how many bytes were taken: fewer than given only when the next failed
    /// (`ENOSPC`, `EDQUOT`, `EFBIG`).
    fn write(&self, node: NodeId, offset: u64, data: &[u8], kill: KillPriv)
    -> Result<usize, Errno>;

    /// Allocates, frees or zeroes a range, fallocate(2).
    fn fallocate(
        &self,
        node: NodeId,
        mode: FallocateMode,
        offset: u64,
        len: u64,
    ) -> Result<(), Errno>;

    /// Finds data or a hole, lseek(2). `ENXIO` past the end.
    fn seek(&self, node: NodeId, from: SeekFrom) -> Result<u64, Errno>;

    /// Copies a range between two files of this filesystem, copy_file_range(2); may copy less.
    fn copy_range(
        &self,
        from: NodeId,
        from_offset: u64,
        to: NodeId,
        to_offset: u64,
        len: u64,
    ) -> Result<u64, Errno>;

    /// Fills the new, empty file `to` with the first `len` bytes of `source`'s file `from`, in the cheapest way:
    /// reflink, `copy_file_range`, bytes. Holes stay holes.
    fn copy_from(
        &self,
        to: NodeId,
        source: &dyn Filesystem,
        from: NodeId,
        len: u64,
    ) -> Result<CopyMethod, Errno>;

    /// Puts a file or directory on stable storage.
    fn fsync(&self, node: NodeId, scope: SyncScope) -> Result<(), Errno>;

    /// Offers the host file that holds the data of a regular file, for reflink, splice and passthrough. `None` if
    /// the data is not in one.
    fn host_file(&self, node: NodeId, access: Access) -> Result<Option<HostFile>, Errno> {
        let _ = (node, access);
        Ok(None)
    }

    // The filesystem as a whole.

    /// Tells `observer` of changes that no call names. One at most: a filesystem has one front. Most have nothing to
    /// tell, and forget it.
    fn observe(&self, observer: Box<dyn Observer>) {
        drop(observer);
    }

    /// Notes that a program opens `node`, so that it reads what was written before by whomever. Only a front of a filesystem
    /// that others change ([`Coherence::Shared`]) says so. `known` is the version of which it has data and attributes; the observer is told that
    /// they are old, unless the file is of that version still.
    ///
    /// # Errors
    ///
    /// `ESTALE`: the name that leads to the node leads to another object, or none. `EACCES`: this process may not read the file.
    fn open(&self, node: NodeId, known: Option<DataVersion>) -> Result<Opened, Errno> {
        let _ = (node, known);
        Ok(Opened::default())
    }

    /// Whether who has an entry of `node` may use its name again without a lookup. Not where it counts which of its names was
    /// used.
    fn keeps_name(&self, node: NodeId) -> bool {
        let _ = node;
        true
    }

    /// Returns how many nodes this filesystem keeps usable at a cost of their own, as no name leads to them any more: of a
    /// directory of the host, by an open descriptor each. Most have none.
    fn nameless(&self) -> usize {
        0
    }

    /// Returns space and limits.
    fn stat_fs(&self) -> Result<StatFs, Errno>;

    /// Returns the UUID that file handles carry; zero if there is none.
    fn uuid(&self) -> Uuid {
        Uuid::default()
    }

    /// Returns a handle by which `node` can be found again. `EOPNOTSUPP` where handles do not exist.
    fn file_handle(&self, node: NodeId) -> Result<FileHandle, Errno> {
        let _ = node;
        Err(Errno::OPNOTSUPP)
    }

    /// Finds the attributes of the object behind a handle. `ESTALE` if it is gone, `EPERM` if this process may not
    /// ask, `EOPNOTSUPP` where handles do not exist.
    fn attr_by_handle(&self, handle: &FileHandle) -> Result<Attr, Errno> {
        let _ = handle;
        Err(Errno::OPNOTSUPP)
    }
}
