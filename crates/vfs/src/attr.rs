//! What stat(2) tells of an object, and what can be changed of it.

use bitflags::bitflags;

/// An inode number, `st_ino`. It names an object to programs; a [`crate::NodeId`] names it to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

/// A device number of a filesystem, `st_dev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevId(pub u64);

/// The device that a device node stands for, `st_rdev`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rdev {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl Rdev {
    /// Device 0:0, which marks a whiteout on a character device.
    pub const WHITEOUT: Self = Self { major: 0, minor: 0 };

    /// Decodes the kernel's 32-bit form (`new_decode_dev`: 12 bits of major, 20 of minor), as FUSE sends it.
    #[must_use]
    pub const fn from_u32(dev: u32) -> Self {
        Self {
            major: (dev >> 8) & 0xfff,
            minor: (dev & 0xff) | ((dev >> 12) & 0xf_ff00),
        }
    }

    /// Encodes to the kernel's 32-bit form (`new_encode_dev`).
    #[must_use]
    pub const fn to_u32(self) -> u32 {
        (self.minor & 0xff) | (self.major << 8) | ((self.minor & !0xff) << 12)
    }
}

/// The type of an object, the `S_IFMT` bits of its mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
}

impl FileType {
    /// Returns the `S_IFMT` bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// Reads the type out of a full `st_mode`; `None` if its `S_IFMT` bits are of no type.
    #[must_use]
    pub const fn from_mode(st_mode: u32) -> Option<Self> {
        Some(match st_mode & 0o170_000 {
            0o010_000 => Self::Fifo,
            0o020_000 => Self::CharDevice,
            0o040_000 => Self::Directory,
            0o060_000 => Self::BlockDevice,
            0o100_000 => Self::Regular,
            0o120_000 => Self::Symlink,
            0o140_000 => Self::Socket,
            _ => return None,
        })
    }

    /// Returns the `DT_*` value of getdents64(2).
    #[must_use]
    pub const fn dirent(self) -> u32 {
        self.bits() >> 12
    }

    /// Reads a `DT_*` value; `None` for `DT_UNKNOWN` and what is no type.
    #[must_use]
    pub const fn from_dirent(value: u8) -> Option<Self> {
        Self::from_mode((value as u32) << 12)
    }
}

bitflags! {
    /// Permission bits with setuid, setgid and sticky: `st_mode` without the type.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Mode: u32 {
        /// `S_ISUID`
        const SETUID = 0o4000;
        /// `S_ISGID`
        const SETGID = 0o2000;
        /// `S_ISVTX`
        const STICKY = 0o1000;
        /// `S_IXGRP`
        const GROUP_EXEC = 0o010;
        /// Every bit, named or not.
        const ALL = 0o7777;
    }
}

impl Mode {
    /// Takes the low 12 bits of `st_mode`.
    #[must_use]
    pub const fn new(st_mode: u32) -> Self {
        Self::from_bits_truncate(st_mode)
    }

    /// Drops what an unprivileged write, truncate or chown drops: setuid, and setgid where the group may
    /// execute (`setattr_should_drop_suidgid`, fs/attr.c).
    #[must_use]
    pub const fn without_privileges(self) -> Self {
        let kept = self.difference(Self::SETUID);
        if self.contains(Self::GROUP_EXEC) {
            kept.difference(Self::SETGID)
        } else {
            kept
        }
    }
}

/// A point in time: seconds since 1970, which may be negative, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanos: u32,
}

bitflags! {
    /// What an object is protected from, whoever asks: `STATX_ATTR_APPEND` and `STATX_ATTR_IMMUTABLE`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Protection: u8 {
        /// Data is appended and never changed; a directory gets names and loses none (`S_APPEND`).
        const APPEND = 1;
        /// Nothing of it changes (`S_IMMUTABLE`).
        const IMMUTABLE = 2;
    }
}

/// The attributes of an object, as statx(2) has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// Device of the filesystem that `ino` is a number of.
    pub dev: DevId,
    /// Type.
    pub kind: FileType,
    /// Permissions.
    pub mode: Mode,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device, for device nodes.
    pub rdev: Rdev,
    /// Size in bytes.
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Preferred size of an I/O operation, in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last change of the data.
    pub mtime: Time,
    /// Last change of the object.
    pub ctime: Time,
    /// Birth, where the filesystem knows it.
    pub btime: Option<Time>,
    /// The file flags that protect it, as far as the filesystem tells them here.
    pub protection: Protection,
}

/// A time to set, utimensat(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the call, `UTIME_NOW`.
    Now,
    /// A given time.
    At(Time),
}

bitflags! {
    /// What somebody wants to do with an object, the mask of access(2).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Rights: u8 {
        /// To run a file, or to search a directory.
        const EXEC = 1;
        /// To change the data of a file, or names in a directory.
        const WRITE = 2;
        /// To read a file, or to list a directory.
        const READ = 4;
    }
}

/// A change of attributes. All fields that are set are applied, in the order size, owner, mode, times:
/// a truncation and a chown drop bits that a chmod in the same change gives back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// New length of a regular file.
    pub size: Option<u64>,
    /// New owner.
    pub uid: Option<u32>,
    /// New group.
    pub gid: Option<u32>,
    /// New permissions.
    pub mode: Option<Mode>,
    /// New access time.
    pub atime: Option<SetTime>,
    /// New modification time.
    pub mtime: Option<SetTime>,
    /// Whether a change of size also drops setuid and setgid.
    pub kill: crate::KillPriv,
    /// How the caller came by the object.
    pub through: Through,
}

/// How a caller reaches what he changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Through {
    /// By a name: what he may do is a matter of the object.
    #[default]
    Name,
    /// By a file that is open for writing: he was let in when it was opened.
    OpenFile,
}

/// What statfs(2) tells of a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatFs {
    /// Magic number of the type.
    pub kind: u64,
    /// Optimal block size in bytes.
    pub block_size: u32,
    /// Unit of the block counts, in bytes.
    pub fragment_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Blocks free for an ordinary user.
    pub blocks_available: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Longest name in bytes.
    pub name_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_survives_mode_and_dirent() {
        for bits in (0..16u32).map(|n| n << 12) {
            if let Some(kind) = FileType::from_mode(bits) {
                assert_eq!(kind.bits(), bits);
                let dt = u8::try_from(kind.dirent()).unwrap();
                assert_eq!(FileType::from_dirent(dt), Some(kind));
            }
        }
        assert_eq!(FileType::from_dirent(0), None);
    }

    #[test]
    fn a_device_number_survives_the_kernel_encoding() {
        for rdev in [(0, 0), (1, 3), (259, 70_000), (4095, 0xf_ffff)] {
            let rdev = Rdev {
                major: rdev.0,
                minor: rdev.1,
            };
            assert_eq!(Rdev::from_u32(rdev.to_u32()), rdev);
        }
        assert_eq!(Rdev { major: 8, minor: 1 }.to_u32(), 0x801);
    }

    #[test]
    fn setgid_without_group_exec_is_kept() {
        assert_eq!(Mode::new(0o6755).without_privileges(), Mode::new(0o755));
        assert_eq!(Mode::new(0o6745).without_privileges(), Mode::new(0o2745));
    }
}
