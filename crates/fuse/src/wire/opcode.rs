//! The requests.

macro_rules! opcodes {
    ($($variant:ident = $value:literal $name:literal,)*) => {
        /// What a request asks for, `enum fuse_opcode`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Opcode {
            $(#[doc = $name] $variant = $value,)*
        }

        impl Opcode {
            /// Every opcode, in the order of its number.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Reads the number of a request; `None` for one that the protocol does not have.
            pub(crate) const fn from_wire(value: u32) -> Option<Self> {
                match value {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Returns the name of the protocol's header, without `FUSE_`.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

opcodes! {
    Lookup = 1 "LOOKUP",
    Forget = 2 "FORGET",
    Getattr = 3 "GETATTR",
    Setattr = 4 "SETATTR",
    Readlink = 5 "READLINK",
    Symlink = 6 "SYMLINK",
    Mknod = 8 "MKNOD",
    Mkdir = 9 "MKDIR",
    Unlink = 10 "UNLINK",
    Rmdir = 11 "RMDIR",
    Rename = 12 "RENAME",
    Link = 13 "LINK",
    Open = 14 "OPEN",
    Read = 15 "READ",
    Write = 16 "WRITE",
    Statfs = 17 "STATFS",
    Release = 18 "RELEASE",
    Fsync = 20 "FSYNC",
    Setxattr = 21 "SETXATTR",
    Getxattr = 22 "GETXATTR",
    Listxattr = 23 "LISTXATTR",
    Removexattr = 24 "REMOVEXATTR",
    Flush = 25 "FLUSH",
    Init = 26 "INIT",
    Opendir = 27 "OPENDIR",
    Readdir = 28 "READDIR",
    Releasedir = 29 "RELEASEDIR",
    Fsyncdir = 30 "FSYNCDIR",
    Getlk = 31 "GETLK",
    Setlk = 32 "SETLK",
    Setlkw = 33 "SETLKW",
    Access = 34 "ACCESS",
    Create = 35 "CREATE",
    Interrupt = 36 "INTERRUPT",
    Bmap = 37 "BMAP",
    Destroy = 38 "DESTROY",
    Ioctl = 39 "IOCTL",
    Poll = 40 "POLL",
    NotifyReply = 41 "NOTIFY_REPLY",
    BatchForget = 42 "BATCH_FORGET",
    Fallocate = 43 "FALLOCATE",
    Readdirplus = 44 "READDIRPLUS",
    Rename2 = 45 "RENAME2",
    Lseek = 46 "LSEEK",
    CopyFileRange = 47 "COPY_FILE_RANGE",
    Setupmapping = 48 "SETUPMAPPING",
    Removemapping = 49 "REMOVEMAPPING",
    Syncfs = 50 "SYNCFS",
    Tmpfile = 51 "TMPFILE",
    Statx = 52 "STATX",
    CopyFileRange64 = 53 "COPY_FILE_RANGE_64",
}

impl Opcode {
    /// One more than the highest number.
    pub(crate) const COUNT: usize = 54;

    /// Returns the number as an index.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_is_found_by_its_number() {
        for &opcode in Opcode::ALL {
            assert!(opcode.index() < Opcode::COUNT);
            let number = u32::try_from(opcode.index()).unwrap();
            assert_eq!(Opcode::from_wire(number), Some(opcode));
        }
        for number in [0, 7, 19, 54, 4096, u32::MAX] {
            assert_eq!(Opcode::from_wire(number), None);
        }
    }
}
