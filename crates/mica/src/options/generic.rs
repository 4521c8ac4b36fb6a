//! The options of mount(8) that every filesystem has.

use super::{Answer, Effect, Entry, Given, MountFlags, OptionError, RawOption};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("ro", Effect::set(MountFlags::READ_ONLY)),
    Entry("rw", Effect::clear(MountFlags::READ_ONLY)),
    Entry("nodev", Effect::Flags(MountFlags::NODEV, MountFlags::DEV)),
    Entry("dev", Effect::Flags(MountFlags::DEV, MountFlags::NODEV)),
    Entry(
        "nosuid",
        Effect::Flags(MountFlags::NOSUID, MountFlags::SUID),
    ),
    Entry("suid", Effect::Flags(MountFlags::SUID, MountFlags::NOSUID)),
    Entry("noexec", Effect::set(MountFlags::NOEXEC)),
    Entry("exec", Effect::clear(MountFlags::NOEXEC)),
    Entry("nosymfollow", Effect::set(MountFlags::NOSYMFOLLOW)),
    Entry("symfollow", Effect::clear(MountFlags::NOSYMFOLLOW)),
    Entry("sync", Effect::Call(sync)),
    Entry("async", Effect::clear(MountFlags::SYNC)),
    Entry("noatime", Effect::Flags(NOATIME, STRICTATIME)),
    Entry("atime", Effect::clear(NOATIME)),
    Entry("strictatime", Effect::Flags(STRICTATIME, NOATIME)),
    Entry("nostrictatime", Effect::clear(STRICTATIME)),
    Entry("relatime", Effect::clear(NOATIME.union(STRICTATIME))),
    Entry("nodiratime", Effect::set(MountFlags::NODIRATIME)),
    Entry("diratime", Effect::clear(MountFlags::NODIRATIME)),
    Entry("remount", Effect::Remount),
    Entry("user", Effect::Restrict(SECURE)),
    Entry("users", Effect::Restrict(SECURE)),
    Entry("owner", Effect::Restrict(OWNER_SECURE)),
    Entry("group", Effect::Restrict(OWNER_SECURE)),
    // For mount(8), systemd and those who read /etc/fstab.
    Entry("defaults", Effect::Silent),
    Entry("auto", Effect::Silent),
    Entry("noauto", Effect::Silent),
    Entry("nouser", Effect::Silent),
    Entry("nofail", Effect::Silent),
    Entry("_netdev", Effect::Silent),
    Entry("comment", Effect::Silent),
    Entry("helper", Effect::Silent),
    Entry("uhelper", Effect::Silent),
    Entry("silent", Effect::Silent),
    Entry("loud", Effect::Silent),
    Entry("quiet", Effect::Silent),
    Entry("nomand", Effect::Silent),
    Entry("noiversion", Effect::Silent),
    Entry("nolazytime", Effect::Silent),
    // What is so in any case.
    Entry(
        "norelatime",
        Effect::Moot("the kernel has taken this for its default, relatime, since Linux 2.6.30"),
    ),
    Entry(
        "lazytime",
        Effect::Moot("times are kept by the filesystem of upperdir; mount that with lazytime"),
    ),
    Entry(
        "mand",
        Effect::Moot("Linux has had no mandatory locks since 5.15"),
    ),
    Entry(
        "iversion",
        Effect::Moot("FUSE counts no changes of an inode for NFS"),
    ),
    // What cannot be had.
    Entry(
        "dirsync",
        Effect::refused(
            "the kernel's FUSE does not tell a server to make changes of directories synchronous",
            "mount the filesystem of upperdir with dirsync, where all changes are made",
        ),
    ),
    Entry("bind", OTHER_TREE),
    Entry("rbind", OTHER_TREE),
    Entry("move", OTHER_TREE),
    Entry("rshared", PROPAGATION),
    Entry("slave", PROPAGATION),
    Entry("rslave", PROPAGATION),
    Entry("private", PROPAGATION),
    Entry("rprivate", PROPAGATION),
    Entry("unbindable", PROPAGATION),
    Entry("runbindable", PROPAGATION),
    Entry("loop", NO_DEVICE),
    Entry("offset", NO_DEVICE),
    Entry("sizelimit", NO_DEVICE),
];

const NOATIME: MountFlags = MountFlags::NOATIME;
const STRICTATIME: MountFlags = MountFlags::STRICTATIME;

/// What mount(8) takes from those whom `owner` and `group` let mount; a later `dev` or `suid` gives it back.
const OWNER_SECURE: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID);
/// The same for `user` and `users`.
const SECURE: MountFlags = OWNER_SECURE.union(MountFlags::NOEXEC);

const OTHER_TREE: Effect = Effect::refused(
    "it shows a tree that is mounted already, which takes no server",
    "run `mount --bind OLD NEW`, or `mount --move OLD NEW`",
);

const PROPAGATION: Effect = Effect::refused(
    "how mounts propagate is set when the mount is there",
    "mount without it, then run `mount --make-private MOUNTPOINT` or its like",
);

const NO_DEVICE: Effect = Effect::refused(
    "an overlay lies on directories, not on a device or an image",
    "mount the image first, with `mount -o loop IMAGE DIR`, and name DIR as a layer",
);

/// `sync` of mount(8). fuse-overlayfs 2.0 has `sync=` with a number as another name of `fsync=`.
fn sync(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    if option.value.is_none() {
        given.flags.insert(MountFlags::SYNC);
        return Ok(());
    }
    let answer = Answer::Refused(
        "with a number it is another name of `fsync=`",
        "write `-o fsync=` with that number",
    );
    given.answer(option.written(), answer)
}

/// Options that mount(8) carries out itself when it has mounted.
const BY_MOUNT: Entry = Entry(
    "X-mount.*",
    Effect::refused(
        "it is carried out by mount(8), not by a filesystem",
        "leave it out, or mount with `mount -t fuse.mica`",
    ),
);

/// Comments, for whoever knows the word after the dash.
const COMMENT: Entry = Entry("x-*", Effect::Silent);

/// Finds the row of an option whose name only begins in a known way.
pub(super) fn by_prefix(name: &[u8]) -> Option<&'static Entry> {
    let begins = |prefix: &[u8]| name.starts_with(prefix);
    if begins(b"X-mount.") || begins(b"x-mount.") {
        return Some(&BY_MOUNT);
    }
    (begins(b"x-") || begins(b"X-")).then_some(&COMMENT)
}
