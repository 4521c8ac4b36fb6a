//! The negotiation with the kernel: what it offers, what Mica takes, and why.
//!
//! [`INIT_FLAGS`] is the one place that decides: the reply to INIT is computed from it, and
//! docs/kernel-features.md prints it. This module knows no device and no filesystem.
//!
//! # Invariants
//!
//! - A flag is in the reply only if the kernel offered it and the table says [`Decision::Negotiated`]. Two of them are
//!   left out for a filesystem without ACLs, and others exchanged for one that others change ([`InitFlags::shared`]).
//! - The same offer gives the same reply, so another server can reconstruct it.

mod flags;

pub use flags::{Decision, FlagRow, INIT_FLAGS, InitFlags};

use std::fmt;

use mica_vfs::{Errno, invent};

use crate::wire::{InitIn, InitInLegacy, InitOut, take};

/// The protocol that Mica speaks.
pub const PROTOCOL: ProtocolVersion = ProtocolVersion {
    major: 7,
    minor: 45,
};

/// The oldest protocol that Mica speaks: Linux 5.4. All structures have had their size since.
pub const OLDEST_PROTOCOL: ProtocolVersion = ProtocolVersion {
    major: 7,
    minor: 31,
};

/// Most bytes of data in one request: 256 pages, the kernel's `fs.fuse.max_pages_limit`.
pub(crate) const MAX_WRITE: usize = 256 * PAGE;
/// The unit in which the kernel counts the size of a request.
pub(crate) const PAGE: usize = 4096;

/// Background requests (readahead, asynchronous direct I/O) that may be under way; the kernel's own default is 12.
const MAX_BACKGROUND: u16 = 64;
/// Background requests from which on the kernel holds writers and readahead back.
const CONGESTION_THRESHOLD: u16 = 48;

/// A version of the FUSE protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ProtocolVersion {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

impl fmt::Display for ProtocolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What the kernel offered and what was agreed on. All that a server needs to know of a connection that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitReport {
    /// The kernel's protocol.
    pub kernel: ProtocolVersion,
    /// The flags that the kernel offered.
    pub offered: InitFlags,
    /// The flags that the connection uses.
    pub negotiated: InitFlags,
    /// Most bytes in a WRITE.
    pub max_write: u32,
    /// Most pages in a request.
    pub max_pages: u16,
    /// Most bytes that the kernel reads ahead.
    pub max_readahead: u32,
    /// Background requests under way at most.
    pub max_background: u16,
}

impl fmt::Display for InitReport {
    /// Writes one line per fact, the flags by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "protocol {} (kernel {})",
            PROTOCOL.min(self.kernel),
            self.kernel
        )?;
        writeln!(
            f,
            "max_write {} max_pages {} max_readahead {} max_background {}",
            self.max_write, self.max_pages, self.max_readahead, self.max_background
        )?;
        writeln!(f, "negotiated {}", self.negotiated)?;
        write!(f, "refused {}", self.offered.without(self.negotiated))
    }
}

/// The answer to an INIT request.
#[derive(Debug)]
pub(crate) enum Negotiation {
    /// The connection is up.
    Agreed(InitOut, InitReport),
    /// The kernel speaks a newer major version; it will ask again with ours.
    AskAgain(InitOut),
    /// The kernel is too old.
    TooOld(ProtocolVersion),
}

/// Answers an INIT request: of the flags that are `wanted` those that the kernel offers.
///
/// # Errors
///
/// `EINVAL`: the request is shorter than its version says.
pub(crate) fn negotiate(body: &[u8], wanted: InitFlags) -> Result<Negotiation, Errno> {
    let short = || invent!(Errno::INVAL, "INIT request is too short", len = body.len());
    let (old, _) = take::<InitInLegacy>(body).ok_or_else(short)?;
    let kernel = ProtocolVersion {
        major: old.major,
        minor: old.minor,
    };
    if kernel.major > PROTOCOL.major {
        return Ok(Negotiation::AskAgain(reply_of(&InitReport {
            kernel: PROTOCOL,
            offered: InitFlags::NONE,
            negotiated: InitFlags::NONE,
            max_write: 0,
            max_pages: 0,
            max_readahead: 0,
            max_background: 0,
        })));
    }
    if kernel < OLDEST_PROTOCOL {
        return Ok(Negotiation::TooOld(kernel));
    }
    let high = if InitFlags::from_halves(old.flags, 0).contains(InitFlags::INIT_EXT) {
        take::<InitIn>(body).ok_or_else(short)?.0.flags2
    } else {
        0
    };
    let offered = InitFlags::from_halves(old.flags, high);
    let report = InitReport {
        kernel,
        offered,
        negotiated: offered.and(wanted),
        max_write: u32::try_from(MAX_WRITE).unwrap_or(u32::MAX),
        max_pages: u16::try_from(MAX_WRITE / PAGE).unwrap_or(u16::MAX),
        max_readahead: old.max_readahead,
        max_background: MAX_BACKGROUND,
    };
    Ok(Negotiation::Agreed(reply_of(&report), report))
}

/// Writes a report as the kernel wants it.
fn reply_of(report: &InitReport) -> InitOut {
    let (flags, flags2) = report.negotiated.halves();
    InitOut {
        major: PROTOCOL.major,
        minor: PROTOCOL.minor,
        max_readahead: report.max_readahead,
        flags,
        max_background: report.max_background,
        congestion_threshold: CONGESTION_THRESHOLD.min(report.max_background),
        max_write: report.max_write,
        time_gran: 1,
        max_pages: report.max_pages,
        map_alignment: 0,
        flags2,
        max_stack_depth: 0,
        request_timeout: 0,
        unused: [0; 11],
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes;

    use super::*;

    fn ask(minor: u32, flags: u64) -> Negotiation {
        let init = InitIn {
            major: 7,
            minor,
            max_readahead: 131_072,
            flags: u32::try_from(flags & 0xffff_ffff).unwrap(),
            flags2: u32::try_from(flags >> 32).unwrap(),
            unused: [0; 11],
        };
        negotiate(init.as_bytes(), InitFlags::wanted()).unwrap()
    }

    #[test]
    fn the_reply_holds_only_what_was_offered_and_wanted() {
        let Negotiation::Agreed(out, report) = ask(45, 0x7fd_73ff_fffb) else {
            panic!("not agreed");
        };
        assert_eq!(report.negotiated, report.offered.and(InitFlags::wanted()));
        assert_eq!(
            InitFlags::from_halves(out.flags, out.flags2),
            report.negotiated
        );
        assert!(report.negotiated.contains(InitFlags::HANDLE_KILLPRIV_V2));
        for name in [
            "ATOMIC_O_TRUNC",
            "AUTO_INVAL_DATA",
            "WRITEBACK_CACHE",
            "PASSTHROUGH",
        ] {
            assert!(!report.negotiated.names().any(|n| n == name), "{name}");
        }
    }

    #[test]
    fn an_offer_without_the_extension_has_no_high_flags() {
        let Negotiation::Agreed(out, report) = ask(31, (1 << 40) | (1 << 29) | 1) else {
            panic!("not agreed");
        };
        assert_eq!(out.flags2, 0);
        assert_eq!(
            report.negotiated.names().collect::<Vec<_>>(),
            ["ASYNC_READ", "SETXATTR_EXT"]
        );
    }

    #[test]
    fn ovl_75_without_acls_the_kernel_applies_the_umask() {
        let left_out = InitFlags::wanted().without(InitFlags::wanted().without_acls());
        assert_eq!(
            left_out.names().collect::<Vec<_>>(),
            ["DONT_MASK", "POSIX_ACL"]
        );
    }

    #[test]
    fn ovl_138_a_shared_mount_lets_the_kernel_rely_on_nothing() {
        let (cached, shared) = (InitFlags::wanted(), InitFlags::wanted().shared());
        assert_eq!(
            cached.without(shared).names().collect::<Vec<_>>(),
            [
                "NO_OPEN_SUPPORT",
                "CACHE_SYMLINKS",
                "NO_OPENDIR_SUPPORT",
                "EXPLICIT_INVAL_DATA"
            ]
        );
        let taken = shared.without(cached);
        assert_eq!(taken.names().collect::<Vec<_>>(), ["AUTO_INVAL_DATA"]);
    }

    #[test]
    fn an_old_kernel_is_named() {
        let Negotiation::TooOld(version) = ask(30, 0) else {
            panic!("not refused");
        };
        assert_eq!(version.to_string(), "7.30");
    }

    #[test]
    fn a_short_init_is_einval() {
        assert_eq!(
            negotiate(&[0; 15], InitFlags::wanted()).err(),
            Some(Errno::INVAL)
        );
    }
}
