//! The tiers of the tests, from the cheapest to the dearest: what each is, needs and may take.

mod cargo;
mod chroot;
mod commit;
mod debian;
mod full;
mod fuzz;
mod kill;
mod nodes;
mod oracle;
mod pjdfstest;
mod power;
mod sanitizer;
mod soak;

pub(crate) use kill::deed::Deed;

use std::time::Duration;

use anyhow::Result;

use crate::driver::Subject;
use crate::need::Need::{self, Apart, Fuse, KernelOverlay, Loop, Mirror, Program, Root};
use crate::need::Source::{Crate, Debian};

/// One tier.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(crate) name: &'static str,
    /// What it shows, for the list.
    pub(crate) about: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) place: Place,
    /// After this long it is killed and has failed.
    pub(crate) limit: Duration,
    pub(crate) run: fn(Subject) -> Result<()>,
}

/// Where a tier runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// As the user who called, in the machine's namespaces.
    Here,
    /// In private namespaces if the caller is root, else as [`Place::Here`].
    PrivateIfRoot,
    /// In private namespaces.
    Private,
}

const MINUTE: Duration = Duration::from_secs(60);

/// All tiers, in the order in which they run.
pub(crate) static ALL: &[Tier] = &[
    Tier {
        name: "unit",
        about: "unit tests, tables and the model, of every crate but the program",
        needs: &[Program("setfacl", Debian("acl"))],
        place: Place::PrivateIfRoot,
        limit: MINUTE.saturating_mul(15),
        run: cargo::unit,
    },
    Tier {
        name: "faults",
        about: "a fault at every call that every operation makes of its layers, then a mount by Mica and by the kernel",
        needs: &[],
        place: Place::PrivateIfRoot,
        limit: MINUTE.saturating_mul(15),
        run: cargo::faults,
    },
    Tier {
        name: "mount",
        about: "`mica mount` through the kernel, and the command line",
        needs: &[
            Program("setfattr", Debian("attr")),
            Program("newuidmap", Debian("uidmap")),
            Program("git", Debian("git")),
            Program("podman", Debian("podman")),
            Program("setfacl", Debian("acl")),
            Program("fusermount3", Debian("fuse3")),
            Program("fuse-overlayfs", Debian("fuse-overlayfs")),
            Apart("fuse-overlayfs", "2.0.0"),
            Program("python3", Debian("python3")),
            Program("umoci", Debian("umoci")),
        ],
        place: Place::PrivateIfRoot,
        limit: MINUTE.saturating_mul(15),
        run: cargo::mount,
    },
    Tier {
        name: "sanitizer",
        about: "the crate with unsafe code under AddressSanitizer",
        needs: &[],
        place: Place::PrivateIfRoot,
        limit: MINUTE.saturating_mul(5),
        run: sanitizer::sanitizer,
    },
    Tier {
        name: "oracle",
        about: "the same operations on kernel overlayfs and on Mica: errno, tree and upper, for a minute",
        needs: &[
            Root,
            Fuse,
            Loop,
            KernelOverlay,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("mkfs.xfs", Debian("xfsprogs")),
            Program("mkfs.btrfs", Debian("btrfs-progs")),
        ],
        place: Place::Here,
        limit: MINUTE.saturating_mul(10),
        run: oracle::oracle,
    },
    Tier {
        name: "pjdfstest",
        about: "no POSIX failure that kernel overlayfs does not have",
        needs: &[
            Root,
            Fuse,
            Loop,
            KernelOverlay,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("pjdfstest", Crate("pjdfstest", "0.2.2")),
        ],
        place: Place::Private,
        limit: MINUTE.saturating_mul(5),
        run: pjdfstest::pjdfstest,
    },
    Tier {
        name: "soak",
        about: "100,000 files leave no fd behind; 100,000 names are each listed once while others change",
        needs: &[Root, Fuse, Loop, Program("mkfs.ext4", Debian("e2fsprogs"))],
        place: Place::Private,
        limit: MINUTE.saturating_mul(10),
        run: soak::soak,
    },
    Tier {
        name: "nodes",
        about: "a million nodes of 400 bytes at most, given back when the kernel forgets them; 256 fds serve all",
        needs: &[Root, Fuse, Loop, Program("mkfs.ext4", Debian("e2fsprogs"))],
        place: Place::Private,
        limit: MINUTE.saturating_mul(15),
        run: nodes::nodes,
    },
    Tier {
        name: "kill",
        about: "the server is killed 200 times: each file is old or new, and dpkg finds nothing wrong",
        needs: &[
            Root,
            Fuse,
            Loop,
            KernelOverlay,
            Mirror,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("debootstrap", Debian("debootstrap")),
        ],
        place: Place::Private,
        limit: MINUTE.saturating_mul(10),
        run: kill::kill,
    },
    Tier {
        name: "commit",
        about: "`mica commit` is killed 200 times: what is sealed is finished, all else undone",
        needs: &[
            Root,
            Fuse,
            Loop,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("setfacl", Debian("acl")),
        ],
        place: Place::Private,
        limit: MINUTE.saturating_mul(10),
        run: commit::commit,
    },
    Tier {
        name: "full",
        about: "a full disk, no inodes, a quota: the right errno at the right call, nothing half-made or lost",
        needs: &[
            Root,
            Fuse,
            Loop,
            KernelOverlay,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("mkfs.btrfs", Debian("btrfs-progs")),
            Program("python3", Debian("python3-minimal")),
        ],
        place: Place::Private,
        limit: MINUTE.saturating_mul(5),
        run: full::full,
    },
    Tier {
        name: "power",
        about: "the disk is cut off 50 times: what was synced or copied up is old or new, never empty",
        needs: &[
            Root,
            Fuse,
            Loop,
            KernelOverlay,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("mkfs.btrfs", Debian("btrfs-progs")),
        ],
        place: Place::Private,
        limit: MINUTE.saturating_mul(10),
        run: power::power,
    },
    Tier {
        name: "stress",
        about: "one file by all means, one tree by many threads, stress-ng: nothing that kernel overlayfs does better",
        needs: crate::stress::NEEDS,
        place: Place::Private,
        limit: MINUTE.saturating_mul(10),
        run: crate::stress::tier,
    },
    Tier {
        name: "fuzz",
        about: "every fuzz target for a short while",
        needs: &[
            Program("cargo-fuzz", Crate("cargo-fuzz", "0.13.2")),
            Program("c++", Debian("g++")),
        ],
        place: Place::Here,
        limit: MINUTE.saturating_mul(15),
        run: fuzz::fuzz,
    },
    Tier {
        name: "debian",
        about: "a Debian system lives on a Mica mount, and the kernel reads its upper",
        needs: &[
            Root,
            Fuse,
            Loop,
            KernelOverlay,
            Mirror,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("debootstrap", Debian("debootstrap")),
            Program("git", Debian("git")),
        ],
        place: Place::Private,
        limit: MINUTE.saturating_mul(20),
        run: debian::debian,
    },
    Tier {
        name: "chroot",
        about: "programs make of a Debian tree in a session and a commit what they make of it in a chroot",
        needs: &[
            Root,
            Fuse,
            Loop,
            Mirror,
            Program("mkfs.ext4", Debian("e2fsprogs")),
            Program("debootstrap", Debian("debootstrap")),
            Program("newuidmap", Debian("uidmap")),
            Program("python3", Debian("python3")),
        ],
        place: Place::Private,
        limit: MINUTE.saturating_mul(20),
        run: chroot::chroot,
    },
];
