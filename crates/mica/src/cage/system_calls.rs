//! The system calls of serving. All others are refused with `EPERM`.
//!
//! The list is that of the code of these crates, of Rust's standard library and of the C library below it (threads,
//! memory, signals), x86-64's and aarch64's. Whoever needs another one adds it to the group where it belongs.
//!
//! None of the calls reaches what no descriptor leads to: paths begin at an empty root, sockets cannot be made, and
//! a new process cannot be, either.

use mica_sys::seccomp::{Action, Call, Filter, Log, Rule, Test};
use mica_vfs::Errno;

use super::error::{CageError, CageStep};

/// Commands of fcntl(2) for descriptors themselves (asm-generic/fcntl.h, linux/fcntl.h).
const F_DUPFD: u32 = 0;
const F_GETFD: u32 = 1;
const F_SETFD: u32 = 2;
const F_GETFL: u32 = 3;
const F_DUPFD_CLOEXEC: u32 = 1030;

/// The device, and data.
const DATA: &[Call] = &[
    Call::READ,
    Call::WRITE,
    Call::PREAD64,
    Call::PWRITE64,
    Call::READV,
    Call::WRITEV,
    Call::PREADV,
    Call::PWRITEV,
    Call::PREADV2,
    Call::PWRITEV2,
    Call::LSEEK,
    Call::FTRUNCATE,
    Call::FALLOCATE,
    Call::COPY_FILE_RANGE,
    Call::SENDFILE,
    Call::FADVISE64,
    Call::READAHEAD,
    Call::FSYNC,
    Call::FDATASYNC,
    Call::SYNCFS,
    Call::SYNC_FILE_RANGE,
    Call::FLOCK,
];

/// Objects of the layers, by descriptor and name.
const OBJECTS: &[Call] = &[
    Call::STATX,
    Call::OPENAT,
    // What rustix makes of open(2) there.
    #[cfg(target_arch = "x86_64")]
    Call::OPEN,
    Call::CLOSE,
    Call::FGETXATTR,
    Call::GETXATTR,
    Call::LGETXATTR,
    Call::GETXATTRAT,
    Call::GETDENTS64,
    Call::NEWFSTATAT,
    Call::FSTAT,
    Call::READLINKAT,
    Call::OPENAT2,
    Call::MKDIRAT,
    Call::MKNODAT,
    Call::SYMLINKAT,
    Call::LINKAT,
    Call::UNLINKAT,
    Call::RENAMEAT,
    Call::RENAMEAT2,
    Call::FCHMOD,
    Call::FCHMODAT,
    Call::FCHMODAT2,
    Call::FCHOWN,
    Call::FCHOWNAT,
    Call::UTIMENSAT,
    Call::FACCESSAT,
    Call::FACCESSAT2,
    Call::FSTATFS,
    Call::STATFS,
    Call::TRUNCATE,
    Call::NAME_TO_HANDLE_AT,
    Call::OPEN_BY_HANDLE_AT,
    Call::FSETXATTR,
    Call::SETXATTR,
    Call::LSETXATTR,
    Call::SETXATTRAT,
    Call::FLISTXATTR,
    Call::LISTXATTR,
    Call::LLISTXATTR,
    Call::LISTXATTRAT,
    Call::FREMOVEXATTR,
    Call::REMOVEXATTR,
    Call::LREMOVEXATTR,
    Call::REMOVEXATTRAT,
];

/// Descriptors themselves.
const DESCRIPTORS: &[Call] = &[
    Call::DUP,
    #[cfg(target_arch = "x86_64")]
    Call::DUP2,
    Call::DUP3,
    Call::CLOSE_RANGE,
    #[cfg(target_arch = "x86_64")]
    Call::POLL,
    Call::PPOLL,
    Call::CHDIR,
    Call::GETCWD,
];

/// Whose new objects are.
const CREDENTIALS: &[Call] = &[
    Call::SETFSUID,
    Call::SETFSGID,
    Call::UMASK,
    Call::CAPGET,
    Call::CAPSET,
    Call::GETUID,
    Call::GETEUID,
    Call::GETGID,
    Call::GETEGID,
];

/// Memory, threads, time and signals, as libraries use them.
const LIBRARIES: &[Call] = &[
    Call::FUTEX,
    Call::MUNMAP,
    Call::MADVISE,
    Call::MREMAP,
    Call::BRK,
    Call::SCHED_YIELD,
    Call::SCHED_GETAFFINITY,
    Call::SET_ROBUST_LIST,
    Call::SET_TID_ADDRESS,
    Call::RSEQ,
    Call::SIGALTSTACK,
    Call::RT_SIGACTION,
    Call::RT_SIGPROCMASK,
    Call::RT_SIGRETURN,
    Call::RESTART_SYSCALL,
    Call::GETPID,
    Call::GETPPID,
    Call::GETTID,
    Call::GETRANDOM,
    Call::GETRUSAGE,
    Call::UNAME,
    Call::CLOCK_GETTIME,
    Call::CLOCK_GETRES,
    Call::CLOCK_NANOSLEEP,
    Call::NANOSLEEP,
    Call::GETTIMEOFDAY,
    Call::EXIT,
    Call::EXIT_GROUP,
];

/// ioctl(2) requests: file flags, reflinks, the UUID of a filesystem. They are those of x86-64 and aarch64.
const REQUESTS: &[u32] = &[
    // FICLONE, FICLONERANGE
    0x4004_9409,
    0x4020_940d,
    // FS_IOC_GETFLAGS, FS_IOC_SETFLAGS
    0x8008_6601,
    0x4008_6602,
    // FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
    0x801c_581f,
    0x401c_5820,
    // FS_IOC_GETFSUUID
    0x8011_1500,
];

/// prctl(2) operations: naming a thread, naming memory, reading securebits.
const OPERATIONS: &[u32] = &[15, 0x5356_4d41, 27];

/// `PROT_EXEC`
const PROT_EXEC: u64 = 4;
/// `CLONE_FS`
const CLONE_FS: u64 = 0x200;
/// `CLONE_THREAD`
const CLONE_THREAD: u64 = 0x1_0000;
/// `CLONE_NEWNS`, `CLONE_NEWCGROUP`, `CLONE_NEWUTS`, `CLONE_NEWIPC`, `CLONE_NEWUSER`, `CLONE_NEWPID`, `CLONE_NEWNET`
const CLONE_NEW: u64 = 0x7e02_0000;

/// Refuses all other calls from here on, and returns how many are allowed.
pub(super) fn refuse() -> Result<usize, CageError> {
    let step = |step| move |source| CageError::Step { step, source };
    rustix::thread::set_no_new_privs(true).map_err(step(CageStep::NoNewPrivs))?;
    let serving = serving();
    let mut calls: Vec<Call> = serving.rules.iter().map(|rule| rule.call).collect();
    calls.sort_unstable();
    calls.dedup();
    threads()
        .install(Log::Nothing)
        .map_err(step(CageStep::SystemCalls))?;
    serving
        .install(Log::Refusals)
        .map_err(step(CageStep::SystemCalls))?;
    // clone3(2) passes this one filter, to be answered by the other.
    Ok(calls.len() - 1)
}

/// Answers clone3(2), whose flags are out of reach for a filter, as a kernel without it does: the C library then makes
/// its threads by clone(2). A filter of its own, as this refusal is nothing that a log should tell.
fn threads() -> Filter {
    Filter {
        rules: vec![Rule {
            call: Call::CLONE3,
            tests: Vec::new(),
            action: Action::Refuse(Errno::NOSYS),
        }],
        otherwise: Action::Allow,
    }
}

/// Allows what serving needs.
fn serving() -> Filter {
    let groups = [DATA, OBJECTS, DESCRIPTORS, CREDENTIALS, LIBRARIES];
    let whole = groups.into_iter().flatten().map(|&call| allow(call, &[]));
    let mut rules: Vec<Rule> = whole.collect();
    rules.extend([
        allow(Call::CLONE3, &[]),
        allow(
            Call::CLONE,
            &[bits(0, CLONE_THREAD | CLONE_NEW, CLONE_THREAD)],
        ),
        allow(Call::UNSHARE, &[Test::is(0, CLONE_FS)]),
        // No code comes from anywhere but the program itself.
        allow(Call::MMAP, &[bits(2, PROT_EXEC, 0)]),
        allow(Call::MPROTECT, &[bits(2, PROT_EXEC, 0)]),
        // Not F_SETOWN and F_SETSIG: for them the kernel signals whomever a descriptor names, and looks at ids alone.
        allow(Call::FCNTL, &[Test::is_int(1, F_DUPFD)]),
        allow(Call::FCNTL, &[Test::is_int(1, F_DUPFD_CLOEXEC)]),
        allow(Call::FCNTL, &[Test::is_int(1, F_GETFD)]),
        allow(Call::FCNTL, &[Test::is_int(1, F_SETFD)]),
        allow(Call::FCNTL, &[Test::is_int(1, F_GETFL)]),
        // Its own limits, and only to read them.
        allow(Call::PRLIMIT64, &[Test::is_int(0, 0), Test::is(2, 0)]),
        // Its own threads: a signal that ends the process is sent by itself.
        allow(Call::TGKILL, &[Test::is_int(0, std::process::id())]),
        // On sockets that it has, to where they are connected.
        allow(Call::SENDTO, &[Test::is(4, 0)]),
        allow(Call::RECVFROM, &[Test::is(4, 0)]),
    ]);
    rules.extend(
        REQUESTS
            .iter()
            .map(|&request| allow(Call::IOCTL, &[Test::is_int(1, request)])),
    );
    rules.extend(
        OPERATIONS
            .iter()
            .map(|&operation| allow(Call::PRCTL, &[Test::is_int(0, operation)])),
    );
    Filter {
        rules,
        otherwise: Action::Refuse(Errno::PERM),
    }
}

fn allow(call: Call, tests: &[Test]) -> Rule {
    Rule {
        call,
        tests: tests.to_vec(),
        action: Action::Allow,
    }
}

const fn bits(argument: u8, mask: u64, value: u64) -> Test {
    Test {
        argument,
        mask,
        value,
    }
}
