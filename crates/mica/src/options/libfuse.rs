//! Options of FUSE, of libfuse and of mount.fuse3(8) that change nothing here, or cannot be had.

use mica_vfs::Coherence;

use super::{Answer, Effect, Entry, Given, OptionError, RawOption};

pub(super) const OPTIONS: &[Entry] = &[
    // What is so in any case.
    Entry(
        "default_permissions",
        Effect::Moot("the kernel checks permissions in any case"),
    ),
    Entry(
        "nonempty",
        Effect::Moot("a mountpoint need not be empty in any case"),
    ),
    Entry("kernel_cache", Effect::Call(pages_kept)),
    Entry("noauto_cache", Effect::Call(pages_kept)),
    Entry("no_auto_inval_data", Effect::Call(pages_kept)),
    Entry("big_writes", LARGE_REQUESTS),
    Entry("large_read", LARGE_REQUESTS),
    Entry("use_ino", OWN_NUMBERS),
    Entry("readdir_ino", OWN_NUMBERS),
    Entry("noforget", OWN_NUMBERS),
    Entry(
        "hard_remove",
        Effect::Moot("a file that is removed while it is open gets no other name in any case"),
    ),
    Entry(
        "async_read",
        Effect::Moot("several reads of a file are under way together in any case"),
    ),
    Entry(
        "async_dio",
        Effect::Moot("parts of a direct access are under way together in any case"),
    ),
    Entry("no_writeback_cache", WRITE_THROUGH),
    Entry("writeback_cache", WRITE_THROUGH),
    Entry("no_remote_lock", KERNEL_LOCKS),
    Entry("no_remote_flock", KERNEL_LOCKS),
    Entry("no_remote_posix_lock", KERNEL_LOCKS),
    Entry("splice_read", NO_SPLICE),
    Entry("splice_write", NO_SPLICE),
    Entry("splice_move", NO_SPLICE),
    Entry("no_splice_read", NO_SPLICE),
    Entry("no_splice_write", NO_SPLICE),
    Entry("no_splice_move", NO_SPLICE),
    Entry(
        "clone_fd",
        Effect::Moot("all threads read one /dev/fuse, which a measurement found to be no slower"),
    ),
    Entry(
        "parallel_direct_writes",
        Effect::Moot("no file is opened for direct I/O by the server"),
    ),
    Entry(
        "readdirplus",
        Effect::Choose(&[
            (
                "auto",
                Answer::Moot("listings bring attributes while somebody asks for them"),
            ),
            ("yes", LISTING_DECIDES),
            ("no", LISTING_DECIDES),
        ]),
    ),
    // What cannot be had.
    Entry("io_uring", DEVICE_ALONE),
    Entry("io_uring_q_depth", DEVICE_ALONE),
    Entry(
        "direct_io",
        Effect::refused(
            "files are opened without a message, so the server cannot say how",
            "let the program that wants it open the file with O_DIRECT",
        ),
    ),
    Entry("auto_cache", Effect::Call(pages_dropped)),
    Entry("ac_attr_timeout", ATTRIBUTES_OF_CACHE),
    Entry("auto_inval_data", Effect::Call(pages_dropped)),
    Entry(
        "remember",
        Effect::refused(
            "inode numbers do not depend on what the server remembers",
            "leave it out: st_ino stays over a remount, too",
        ),
    ),
    Entry("uid", OWNERS),
    Entry("gid", OWNERS),
    Entry("umask", OWNERS),
    Entry("fmask", OWNERS),
    Entry("dmask", OWNERS),
    Entry("modules", NO_MODULES),
    Entry("blkdev", NO_DEVICE),
    Entry("blksize", NO_DEVICE),
    Entry("fd", OURS_TO_SET),
    Entry("rootmode", OURS_TO_SET),
    Entry("user_id", OURS_TO_SET),
    Entry("group_id", OURS_TO_SET),
    Entry("max_write", NEGOTIATED),
    Entry("max_readahead", NEGOTIATED),
    Entry("max_background", NEGOTIATED),
    Entry("congestion_threshold", NEGOTIATED),
    Entry("time_gran", NEGOTIATED),
    Entry("sync_read", NEGOTIATED),
    Entry("no_async_dio", NEGOTIATED),
    Entry("atomic_o_trunc", NEGOTIATED),
    Entry(
        "no_rofd_flush",
        Effect::Moot("closing a file sends nothing in any case"),
    ),
    Entry("intr", NO_SIGNALS),
    Entry("nointr", Effect::Moot("an operation is never interrupted")),
    Entry("intr_signal", NO_SIGNALS),
    Entry("setuid", OTHER_USER),
    Entry("drop_privileges", OTHER_USER),
];

/// What becomes of the pages of a file when it is opened, or its attributes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// They stay.
    Kept,
    /// They go if the file changed.
    Dropped,
}

impl Pages {
    /// Says what that means for layers that others change, or nobody.
    pub(super) const fn answer(self, coherence: Coherence) -> Answer {
        match (self, coherence) {
            (Self::Kept, Coherence::Exclusive) => {
                Answer::Moot("pages stay in the cache when a file is opened again in any case")
            }
            (Self::Dropped, Coherence::Shared) => Answer::Moot(
                "with `shared` the pages of a file that changed are dropped in any case",
            ),
            (Self::Kept, Coherence::Shared) => Answer::Refused(
                "`shared` drops the pages of a file that changed",
                "leave one of the two out",
            ),
            (Self::Dropped, Coherence::Exclusive) => Answer::Refused(
                "layers do not change behind a mount, as with the kernel's overlayfs",
                "if they do, write `-o shared`",
            ),
        }
    }
}

fn pages_kept(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    option.no_value()?;
    given.fuse.pages.push((option.written(), Pages::Kept));
    Ok(())
}

/// A value is refused with the option itself, as where it has no effect.
fn pages_dropped(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.fuse.pages.push((option.written(), Pages::Dropped));
    Ok(())
}

const LARGE_REQUESTS: Effect =
    Effect::Moot("requests are as large as the kernel lets them be in any case");

const OWN_NUMBERS: Effect =
    Effect::Moot("inode numbers are those of the layers in any case, also in listings");

const WRITE_THROUGH: Effect = Effect::Moot(
    "writes go through at once, so that ENOSPC comes from the write that does not fit",
);

const KERNEL_LOCKS: Effect = Effect::Moot("the kernel keeps the locks of a mount in any case");

const NO_SPLICE: Effect =
    Effect::Moot("requests and replies go through one buffer each, without a pipe");

const LISTING_DECIDES: Answer = Answer::Refused(
    "the server sees whether attributes are asked for, and decides by that",
    "leave it out, or write `-o readdirplus=auto`",
);

const DEVICE_ALONE: Effect = Effect::refused(
    "requests travel on /dev/fuse alone in this version",
    "leave it out",
);

const ATTRIBUTES_OF_CACHE: Effect = Effect::refused(
    "attributes are read when a file is opened where layers change, and have one timeout otherwise",
    "write `-o shared`, and `-o attr_timeout=` for another time than a second",
);

const OWNERS: Effect = Effect::refused(
    "a file has the owner and the mode that its layer gives it",
    "use `-o squash_to_uid=UID`, `-o squash_to_gid=GID` or `-o uidmapping=`; for a mode, run `chmod`",
);

const NO_MODULES: Effect = Effect::refused(
    "there are no modules of libfuse in it",
    "mount another filesystem over this one, such as bindfs",
);

const NO_DEVICE: Effect =
    Effect::refused("it is for filesystems on a block device", "leave it out");

const OURS_TO_SET: Effect = Effect::refused(
    "it is between the server and the kernel, and set by the server",
    "leave it out",
);

const NEGOTIATED: Effect = Effect::refused(
    "it is agreed on with the kernel",
    "leave it out; `mica mount -v` says what was agreed on",
);

const NO_SIGNALS: Effect = Effect::refused(
    "an operation on the layers is not interrupted half-way",
    "leave it out",
);

const OTHER_USER: Effect = Effect::refused(
    "the server has to read and write the layers as the one who mounts",
    "run `setpriv --reuid USER mica mount ...`, or mount within a user namespace",
);
