//! Whose a new object is: the filesystem ids and the umask of one thread.
//!
//! An object is born with the fsuid, fsgid and umask of the thread that makes it, in one call and with the default
//! ACL applied by the kernel. A server's thread takes them on for the length of that call and keeps the mounter's
//! capabilities, so what the mounter may do it still may.
//!
//! # Invariants
//!
//! - Only the calling thread changes; the libc's process-wide setters are not used.
//! - A thread's own ids and umask are read once, at its first birth. From then on its umask is its own
//!   (`CLONE_FS` is unshared: its working directory, too), so no other thread can change it behind this cache.
//! - A thread that could not be given back its ids makes nothing any more: every later birth on it is `EPERM`.

#![allow(
    unsafe_code,
    reason = "rustix has no setfsuid, setfsgid and no safe unshare"
)]

use std::cell::Cell;
use std::marker::PhantomData;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::process::umask;
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySets, UnshareFlags, capabilities, capabilities_secure_bits,
    set_capabilities, set_capabilities_secure_bits, unshare_unsafe,
};

/// What a new object takes from the thread that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    uid: u32,
    gid: u32,
    umask: u32,
}

/// How the thread keeps its capabilities when its fsuid leaves or becomes 0.
#[derive(Debug, Clone, Copy)]
enum Keep {
    /// `SECBIT_NO_SETUID_FIXUP` is set: the kernel leaves them alone.
    Securebit,
    /// They are set again after each change.
    Restore(CapabilitySets),
}

#[derive(Debug, Clone, Copy)]
enum Thread {
    /// Nothing was born on it yet.
    Fresh,
    /// It has this identity; `keep` is decided at the first change of the fsuid.
    Known { now: Identity, keep: Option<Keep> },
    /// Its ids could not be given back.
    Lost,
}

thread_local!(static THREAD: Cell<Thread> = const { Cell::new(Thread::Fresh) });

/// The calling thread makes objects as somebody else while this lives.
#[derive(Debug)]
#[must_use = "the identity is given back when this is dropped"]
pub struct BornAs {
    before: Identity,
    /// The guard belongs to its thread: not `Send`.
    _thread: PhantomData<*const ()>,
}

impl BornAs {
    /// Takes on `uid`, `gid` and `umask`. No system call is made for what the thread has already.
    ///
    /// # Errors
    ///
    /// - `EPERM`: the thread may not take on these ids, or they are not mapped in its user namespace.
    /// - What unshare(2) answers where it is filtered, at the first birth on a thread.
    ///
    /// The thread is as it was.
    pub fn assume(uid: u32, gid: u32, umask: u32) -> Result<Self, Errno> {
        let guard = Self {
            before: current()?,
            _thread: PhantomData,
        };
        // On an error the guard is dropped, which undoes the steps that were taken.
        switch(Identity {
            uid,
            gid,
            umask: umask & 0o777,
        })?;
        Ok(guard)
    }
}

impl Drop for BornAs {
    fn drop(&mut self) {
        if switch(self.before).is_err() {
            THREAD.set(Thread::Lost);
        }
    }
}

/// Returns what the thread has, and finds it out at the thread's first birth.
fn current() -> Result<Identity, Errno> {
    match THREAD.get() {
        Thread::Known { now, .. } => Ok(now),
        Thread::Lost => Err(Errno::PERM),
        Thread::Fresh => {
            // SAFETY: only unsharing the descriptor table would be unsound; `FS` is root, working directory and umask.
            unsafe { unshare_unsafe(UnshareFlags::FS) }?;
            // The umask can only be read by setting it.
            let own = umask(Mode::empty());
            umask(own);
            let now = Identity {
                uid: fsuid(),
                gid: fsgid(),
                umask: own.as_raw_mode(),
            };
            THREAD.set(Thread::Known { now, keep: None });
            Ok(now)
        }
    }
}

/// Makes the thread's identity `to`, step by step; after an error it is something between.
fn switch(to: Identity) -> Result<(), Errno> {
    let Thread::Known { mut now, mut keep } = THREAD.get() else {
        return Err(Errno::PERM);
    };
    if now.umask != to.umask {
        umask(Mode::from_raw_mode(to.umask));
        now.umask = to.umask;
        THREAD.set(Thread::Known { now, keep });
    }
    if now.gid != to.gid {
        set_fsgid(to.gid)?;
        now.gid = to.gid;
        THREAD.set(Thread::Known { now, keep });
    }
    if now.uid != to.uid {
        let kept = match keep {
            Some(kept) => kept,
            None => keep_capabilities()?,
        };
        keep = Some(kept);
        THREAD.set(Thread::Known { now, keep });
        set_fsuid(to.uid)?;
        now.uid = to.uid;
        THREAD.set(Thread::Known { now, keep });
        if let Keep::Restore(sets) = kept {
            set_capabilities(None, sets)?;
        }
    }
    Ok(())
}

/// Decides how capabilities survive a change of the fsuid, which by default drops those on files.
fn keep_capabilities() -> Result<Keep, Errno> {
    // A server that gave up CAP_SETPCAP has set the bit before, and may not set it once more.
    let ours = CapabilitiesSecureBits::NO_SETUID_FIXUP;
    let securebit = capabilities_secure_bits().and_then(|bits| {
        if bits.contains(ours) {
            Ok(())
        } else {
            set_capabilities_secure_bits(bits | ours)
        }
    });
    match securebit {
        Ok(()) => Ok(Keep::Securebit),
        Err(_) => capabilities(None).map(Keep::Restore),
    }
}

/// An id that no object has: the setters change nothing for it, and return the current one all the same.
const NO_ID: u32 = u32::MAX;

fn fsuid() -> u32 {
    setfsid(libc::SYS_setfsuid, NO_ID)
}

fn fsgid() -> u32 {
    setfsid(libc::SYS_setfsgid, NO_ID)
}

fn set_fsuid(uid: u32) -> Result<(), Errno> {
    setfsid(libc::SYS_setfsuid, uid);
    if fsuid() == uid {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

fn set_fsgid(gid: u32) -> Result<(), Errno> {
    setfsid(libc::SYS_setfsgid, gid);
    if fsgid() == gid {
        Ok(())
    } else {
        Err(Errno::PERM)
    }
}

/// Calls one of the two setters, which tell the previous id and nothing of success.
fn setfsid(call: libc::c_long, id: u32) -> u32 {
    // SAFETY: both calls take an id by value and change the credentials of the calling thread, no memory.
    let previous = unsafe { libc::syscall(call, id) };
    u32::try_from(previous).unwrap_or(NO_ID)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use rustix::thread::CapabilitySet;

    use super::*;

    /// Runs `test` on a thread of its own, so that what it changes ends with it.
    fn on_a_thread(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| scope.spawn(test).join().unwrap());
    }

    fn may_change_ids() -> bool {
        let set = capabilities(None).unwrap().effective;
        set.contains(CapabilitySet::SETUID | CapabilitySet::SETGID)
    }

    #[expect(clippy::print_stderr, reason = "a skip is counted")]
    fn skipped(test: &str) {
        let required = std::env::var_os("MICA_REQUIRE_ALL").is_some_and(|value| value == "1");
        assert!(!required, "{test} needs CAP_SETUID and CAP_SETGID");
        eprintln!("SKIPPED {test}: it needs CAP_SETUID and CAP_SETGID");
    }

    #[test]
    fn a_file_is_born_with_the_identity_and_the_thread_gets_its_own_back() {
        if !may_change_ids() {
            return skipped("a_file_is_born_with_the_identity_and_the_thread_gets_its_own_back");
        }
        let dir = tempfile::tempdir().unwrap();
        on_a_thread(|| {
            let own = current().unwrap();
            {
                let _guard = BornAs::assume(1234, 4321, 0o027).unwrap();
                let open = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
                let mode = Mode::from_raw_mode(0o666);
                let file = rustix::fs::open(dir.path().join("f"), open, mode).unwrap();
                drop(file);
                assert_eq!((fsuid(), fsgid()), (1234, 4321));
            }
            assert_eq!((fsuid(), fsgid()), (own.uid, own.gid));
            assert_eq!(umask(Mode::empty()).as_raw_mode(), own.umask);
        });
        let born = std::fs::metadata(dir.path().join("f")).unwrap();
        assert_eq!(
            (born.uid(), born.gid(), born.mode() & 0o777),
            (1234, 4321, 0o640)
        );
    }

    /// The capability sets of the calling thread, as procfs prints them.
    fn capability_lines() -> Vec<String> {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        let lines = status.lines().filter(|line| line.starts_with("Cap"));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn capabilities_stay_with_either_means() {
        if !may_change_ids() {
            return skipped("capabilities_stay_with_either_means");
        }
        for force_restore in [false, true] {
            on_a_thread(|| {
                let before = capability_lines();
                let now = current().unwrap();
                if force_restore {
                    let keep = capabilities(None).ok().map(Keep::Restore);
                    THREAD.set(Thread::Known { now, keep });
                }
                {
                    let _guard = BornAs::assume(1234, 4321, 0o022).unwrap();
                    assert_eq!(capability_lines(), before);
                }
                assert_eq!(capability_lines(), before);
            });
        }
    }

    #[test]
    fn guards_nest() {
        if !may_change_ids() {
            return skipped("guards_nest");
        }
        on_a_thread(|| {
            let own = current().unwrap();
            let outer = BornAs::assume(1, 2, 0o077).unwrap();
            let inner = BornAs::assume(3, 4, 0o007).unwrap();
            assert_eq!((fsuid(), fsgid()), (3, 4));
            drop(inner);
            assert_eq!((fsuid(), fsgid()), (1, 2));
            drop(outer);
            assert_eq!(current().unwrap(), own);
            assert_eq!((fsuid(), fsgid()), (own.uid, own.gid));
        });
    }

    #[test]
    fn a_refused_identity_leaves_the_thread_as_it_was() {
        on_a_thread(|| {
            let own = current().unwrap();
            // No user namespace maps the invalid id.
            assert_eq!(
                BornAs::assume(NO_ID, own.gid, own.umask ^ 0o022).err(),
                Some(Errno::PERM)
            );
            assert_eq!(current().unwrap(), own);
            assert_eq!(umask(Mode::empty()).as_raw_mode(), own.umask);
        });
    }

    #[test]
    fn the_umask_of_another_thread_is_not_touched() {
        on_a_thread(|| {
            let own = current().unwrap();
            on_a_thread(|| {
                let _guard = BornAs::assume(own.uid, own.gid, 0o777).unwrap();
                assert_eq!(current().unwrap().umask, 0o777);
            });
            assert_eq!(umask(Mode::empty()).as_raw_mode(), own.umask);
        });
    }
}
