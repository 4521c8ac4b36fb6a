//! Every flag of INIT, with what Mica does about it.

use std::fmt;

/// What Mica does about a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Taken when the kernel offers it, because of this.
    Negotiated(&'static str),
    /// Never taken, because of this.
    Refused(&'static str),
}

/// One flag of INIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagRow {
    /// Number of the bit; those from 32 on travel in `flags2`.
    pub bit: u32,
    /// Name in the protocol's header, without `FUSE_`.
    pub name: &'static str,
    /// What Mica does.
    pub decision: Decision,
}

use Decision::{Negotiated, Refused};

const fn row(bit: u32, name: &'static str, decision: Decision) -> FlagRow {
    FlagRow {
        bit,
        name,
        decision,
    }
}

/// Every flag of protocol 7.45, in the order of its bit.
#[rustfmt::skip]
pub const INIT_FLAGS: [FlagRow; 43] = [
    row(0, "ASYNC_READ", Negotiated("readahead sends several reads of one file at a time")),
    row(1, "POSIX_LOCKS", Refused("the kernel keeps the locks of a mount itself, without a message")),
    row(2, "FILE_OPS", Refused("no kernel ever used it")),
    row(3, "ATOMIC_O_TRUNC", Refused("with zero-message open the truncation would be lost; without it O_TRUNC arrives as SETATTR")),
    row(4, "EXPORT_SUPPORT", Refused("a file handle would have to outlive the node it names")),
    row(5, "BIG_WRITES", Negotiated("writes of more than one page; kernels from 4.20 on always do")),
    row(6, "DONT_MASK", Negotiated("a default ACL replaces the umask, and only the filesystem knows it")),
    row(7, "SPLICE_WRITE", Refused("replies are written from one buffer; a pipe costs two more calls")),
    row(8, "SPLICE_MOVE", Refused("no splice is used")),
    row(9, "SPLICE_READ", Refused("requests are read into one buffer; a pipe costs two more calls")),
    row(10, "FLOCK_LOCKS", Refused("the kernel keeps the locks of a mount itself, without a message")),
    row(11, "HAS_IOCTL_DIR", Negotiated("chattr and lsattr work on directories")),
    row(12, "AUTO_INVAL_DATA", Refused("every write changes mtime, so it would drop our own pages; taken with `shared`, where layers change by themselves")),
    row(13, "DO_READDIRPLUS", Negotiated("a listing can bring nodes and attributes along")),
    row(14, "READDIRPLUS_AUTO", Negotiated("the kernel asks for attributes only where names were looked up; the server leaves them out while nobody does")),
    row(15, "ASYNC_DIO", Negotiated("direct I/O in parts that are under way together")),
    row(16, "WRITEBACK_CACHE", Refused("ENOSPC would appear at fsync instead of write, and the server would not own size and times")),
    row(17, "NO_OPEN_SUPPORT", Negotiated("OPEN is answered ENOSYS once, then opening a file sends nothing; not with `shared`")),
    row(18, "PARALLEL_DIROPS", Negotiated("lookups and listings of one directory run in parallel")),
    row(19, "HANDLE_KILLPRIV", Refused("HANDLE_KILLPRIV_V2 says whether the caller has CAP_FSETID, this one does not")),
    row(20, "POSIX_ACL", Negotiated("the kernel checks and caches ACLs; not where the filesystem decides what callers may do")),
    row(21, "ABORT_ERROR", Negotiated("the server tells an aborted connection (ECONNABORTED) from an unmount (ENODEV)")),
    row(22, "MAX_PAGES", Negotiated("requests of 1 MiB")),
    row(23, "CACHE_SYMLINKS", Negotiated("the target of a symbolic link never changes; not with `shared`, where its inode number may be another's")),
    row(24, "NO_OPENDIR_SUPPORT", Negotiated("OPENDIR is answered ENOSYS once, then opening a directory sends nothing and listings are cached; not with `shared`")),
    row(25, "EXPLICIT_INVAL_DATA", Negotiated("pages stay when attributes are refreshed; not with `shared`, where data changes by itself")),
    row(26, "MAP_ALIGNMENT", Refused("DAX is for virtiofs")),
    row(27, "SUBMOUNTS", Refused("a mount has one st_dev")),
    row(28, "HANDLE_KILLPRIV_V2", Negotiated("no GETXATTR of security.capability before each write; the filesystem drops setuid, setgid and capabilities")),
    row(29, "SETXATTR_EXT", Negotiated("setting an access ACL says whether the setgid bit goes")),
    row(30, "INIT_EXT", Negotiated("flags from bit 32 on")),
    row(31, "INIT_RESERVED", Refused("reserved by the protocol")),
    row(32, "SECURITY_CTX", Refused("no label is kept that the layers' own filesystem did not give")),
    row(33, "HAS_INODE_DAX", Refused("DAX is for virtiofs")),
    row(34, "CREATE_SUPP_GROUP", Refused("the kernel strips setgid from the mode before it sends it")),
    row(35, "HAS_EXPIRE_ONLY", Refused("no entry is invalidated by the server")),
    row(36, "DIRECT_IO_ALLOW_MMAP", Refused("no file is opened with FOPEN_DIRECT_IO")),
    row(37, "PASSTHROUGH", Refused("the data path is the page cache of the mount: passthrough needs a message per open. So a mount counts as none of the two filesystems that overlayfs stacks")),
    row(38, "NO_EXPORT_SUPPORT", Negotiated("name_to_handle_at fails as on kernel overlayfs: a handle would die with its node")),
    row(39, "HAS_RESEND", Refused("a connection is not handed to another server")),
    row(40, "ALLOW_IDMAP", Negotiated("the mount can be idmapped; the kernel maps the owners in requests; not where the filesystem decides")),
    row(41, "OVER_IO_URING", Refused("requests travel on /dev/fuse")),
    row(42, "REQUEST_TIMEOUT", Refused("an fsync may take as long as the disk takes; a timeout would abort the whole mount")),
];

/// A set of INIT flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitFlags(u64);

impl InitFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `FUSE_DONT_MASK`
    pub const DONT_MASK: Self = Self(1 << 6);
    /// `FUSE_AUTO_INVAL_DATA`
    pub const AUTO_INVAL_DATA: Self = Self(1 << 12);
    /// What lets the kernel rely on that nobody else changes the filesystem: `FUSE_NO_OPEN_SUPPORT`, `FUSE_CACHE_SYMLINKS`,
    /// `FUSE_NO_OPENDIR_SUPPORT` and `FUSE_EXPLICIT_INVAL_DATA`.
    pub const EXCLUSIVE: Self = Self(1 << 17 | 1 << 23 | 1 << 24 | 1 << 25);
    /// `FUSE_POSIX_ACL`
    pub const POSIX_ACL: Self = Self(1 << 20);
    /// `FUSE_HANDLE_KILLPRIV_V2`
    pub const HANDLE_KILLPRIV_V2: Self = Self(1 << 28);
    /// `FUSE_SETXATTR_EXT`
    pub const SETXATTR_EXT: Self = Self(1 << 29);
    /// `FUSE_ALLOW_IDMAP`
    pub const ALLOW_IDMAP: Self = Self(1 << 40);
    /// `FUSE_INIT_EXT`
    pub const INIT_EXT: Self = Self(1 << 30);

    /// Returns what the table says to negotiate.
    #[must_use]
    pub fn wanted() -> Self {
        INIT_FLAGS
            .iter()
            .filter(|row| matches!(row.decision, Negotiated(_)))
            .fold(Self::NONE, |set, row| Self(set.0 | 1 << row.bit))
    }

    /// Returns the set for a filesystem without ACLs. Then no default ACL replaces the umask, and the kernel may apply it
    /// itself.
    #[must_use]
    pub const fn without_acls(self) -> Self {
        self.without(Self::POSIX_ACL).without(Self::DONT_MASK)
    }

    /// Returns the set for a filesystem that decides what callers may do. With either flag the kernel would decide
    /// (process_init_reply). The umask stays the filesystem's.
    #[must_use]
    pub const fn deciding(self) -> Self {
        self.without(Self::POSIX_ACL).without(Self::ALLOW_IDMAP)
    }

    /// Returns the set for a filesystem that others change, too.
    #[must_use]
    pub const fn shared(self) -> Self {
        let rest = self.without(Self::EXCLUSIVE);
        Self(rest.0 | Self::AUTO_INVAL_DATA.0)
    }

    /// Joins the two words of the wire.
    pub(super) const fn from_halves(low: u32, high: u32) -> Self {
        Self(low as u64 | (high as u64) << 32)
    }

    /// Splits into the two words of the wire.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half is taken by itself"
    )]
    pub(super) const fn halves(self) -> (u32, u32) {
        (self.0 as u32, (self.0 >> 32) as u32)
    }

    /// Returns the bits, as the protocol numbers them.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Tells whether all of `flags` are in the set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns what is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns the set without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Lists the flags by name, as far as the protocol of this server names them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        INIT_FLAGS
            .iter()
            .filter(move |row| self.0 & (1 << row.bit) != 0)
            .map(|row| row.name)
    }
}

impl fmt::Display for InitFlags {
    /// Writes the names, then the bits that have none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut gap = "";
        for name in self.names() {
            write!(f, "{gap}{name}")?;
            gap = " ";
        }
        let named = INIT_FLAGS.iter().fold(0, |set, row| set | 1 << row.bit);
        for bit in (0..64).filter(|bit| (self.0 & !named) & (1 << bit) != 0) {
            write!(f, "{gap}bit{bit}")?;
            gap = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stands_at_the_place_of_its_bit() {
        for (place, row) in (0..).zip(&INIT_FLAGS) {
            assert_eq!(place, row.bit, "{}", row.name);
        }
    }

    #[test]
    fn flags_without_a_name_are_printed_by_bit() {
        assert_eq!(InitFlags(1 | 1 << 50).to_string(), "ASYNC_READ bit50");
    }

    /// The document's rows, in its order: `| bit | flag | decision | reason |`.
    #[test]
    fn the_document_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/kernel-features.md");
        let text = std::fs::read_to_string(path).unwrap();
        let documented: Vec<Vec<&str>> = text
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
            .map(|line| line.split(" | ").collect::<Vec<_>>())
            .filter(|cells| cells[0].parse::<u32>().is_ok())
            .collect();
        for (cells, row) in documented.iter().zip(&INIT_FLAGS) {
            let (decision, reason) = match row.decision {
                Negotiated(reason) => ("negotiated", reason),
                Refused(reason) => ("refused", reason),
            };
            let bit = row.bit.to_string();
            let name = format!("`{}`", row.name);
            assert_eq!(cells[..], [bit.as_str(), name.as_str(), decision, reason]);
        }
        assert_eq!(documented.len(), INIT_FLAGS.len());
    }
}
