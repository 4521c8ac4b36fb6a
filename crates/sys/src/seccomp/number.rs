//! The numbers of system calls.

/// A system call, by its number on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call(u32);

impl Call {
    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the numbers are below 1000"
    )]
    const fn new(number: libc::c_long) -> Self {
        Self(number as u32)
    }
}

macro_rules! calls {
    ($($(#[$when:meta])* $name:ident = $number:expr;)*) => {
        impl Call {
            $(
                $(#[$when])*
                #[doc = concat!("`", stringify!($number), "`")]
                pub const $name: Self = Self::new($number);
            )*
        }
    };
}

calls! {
    BRK = libc::SYS_brk;
    CAPGET = libc::SYS_capget;
    CAPSET = libc::SYS_capset;
    CHDIR = libc::SYS_chdir;
    CLOCK_GETRES = libc::SYS_clock_getres;
    CLOCK_GETTIME = libc::SYS_clock_gettime;
    CLOCK_NANOSLEEP = libc::SYS_clock_nanosleep;
    CLONE = libc::SYS_clone;
    CLONE3 = libc::SYS_clone3;
    CLOSE = libc::SYS_close;
    CLOSE_RANGE = libc::SYS_close_range;
    COPY_FILE_RANGE = libc::SYS_copy_file_range;
    DUP = libc::SYS_dup;
    #[cfg(target_arch = "x86_64")]
    DUP2 = libc::SYS_dup2;
    DUP3 = libc::SYS_dup3;
    EXIT = libc::SYS_exit;
    EXIT_GROUP = libc::SYS_exit_group;
    FACCESSAT = libc::SYS_faccessat;
    FACCESSAT2 = libc::SYS_faccessat2;
    FADVISE64 = libc::SYS_fadvise64;
    FALLOCATE = libc::SYS_fallocate;
    FCHMOD = libc::SYS_fchmod;
    FCHMODAT = libc::SYS_fchmodat;
    FCHMODAT2 = libc::SYS_fchmodat2;
    FCHOWN = libc::SYS_fchown;
    FCHOWNAT = libc::SYS_fchownat;
    FCNTL = libc::SYS_fcntl;
    FDATASYNC = libc::SYS_fdatasync;
    FGETXATTR = libc::SYS_fgetxattr;
    FLISTXATTR = libc::SYS_flistxattr;
    FLOCK = libc::SYS_flock;
    FREMOVEXATTR = libc::SYS_fremovexattr;
    FSETXATTR = libc::SYS_fsetxattr;
    FSTAT = libc::SYS_fstat;
    FSTATFS = libc::SYS_fstatfs;
    FSYNC = libc::SYS_fsync;
    FTRUNCATE = libc::SYS_ftruncate;
    FUTEX = libc::SYS_futex;
    GETCWD = libc::SYS_getcwd;
    GETDENTS64 = libc::SYS_getdents64;
    GETEGID = libc::SYS_getegid;
    GETEUID = libc::SYS_geteuid;
    GETGID = libc::SYS_getgid;
    GETPID = libc::SYS_getpid;
    GETPPID = libc::SYS_getppid;
    GETRANDOM = libc::SYS_getrandom;
    GETRUSAGE = libc::SYS_getrusage;
    GETTID = libc::SYS_gettid;
    GETTIMEOFDAY = libc::SYS_gettimeofday;
    GETUID = libc::SYS_getuid;
    GETXATTR = libc::SYS_getxattr;
    /// Linux 6.13; libc does not have it yet. So with the three like it.
    GETXATTRAT = 464;
    IOCTL = libc::SYS_ioctl;
    LGETXATTR = libc::SYS_lgetxattr;
    LINKAT = libc::SYS_linkat;
    LISTXATTR = libc::SYS_listxattr;
    LISTXATTRAT = 465;
    LLISTXATTR = libc::SYS_llistxattr;
    LREMOVEXATTR = libc::SYS_lremovexattr;
    LSEEK = libc::SYS_lseek;
    LSETXATTR = libc::SYS_lsetxattr;
    MADVISE = libc::SYS_madvise;
    MKDIRAT = libc::SYS_mkdirat;
    MKNODAT = libc::SYS_mknodat;
    MMAP = libc::SYS_mmap;
    MPROTECT = libc::SYS_mprotect;
    MREMAP = libc::SYS_mremap;
    MUNMAP = libc::SYS_munmap;
    NAME_TO_HANDLE_AT = libc::SYS_name_to_handle_at;
    NANOSLEEP = libc::SYS_nanosleep;
    NEWFSTATAT = libc::SYS_newfstatat;
    #[cfg(target_arch = "x86_64")]
    OPEN = libc::SYS_open;
    OPENAT = libc::SYS_openat;
    OPENAT2 = libc::SYS_openat2;
    OPEN_BY_HANDLE_AT = libc::SYS_open_by_handle_at;
    #[cfg(target_arch = "x86_64")]
    POLL = libc::SYS_poll;
    PPOLL = libc::SYS_ppoll;
    PRCTL = libc::SYS_prctl;
    PREAD64 = libc::SYS_pread64;
    PREADV = libc::SYS_preadv;
    PREADV2 = libc::SYS_preadv2;
    PRLIMIT64 = libc::SYS_prlimit64;
    PWRITE64 = libc::SYS_pwrite64;
    PWRITEV = libc::SYS_pwritev;
    PWRITEV2 = libc::SYS_pwritev2;
    READ = libc::SYS_read;
    READAHEAD = libc::SYS_readahead;
    READLINKAT = libc::SYS_readlinkat;
    READV = libc::SYS_readv;
    RECVFROM = libc::SYS_recvfrom;
    REMOVEXATTR = libc::SYS_removexattr;
    REMOVEXATTRAT = 466;
    RENAMEAT = libc::SYS_renameat;
    RENAMEAT2 = libc::SYS_renameat2;
    RESTART_SYSCALL = libc::SYS_restart_syscall;
    RSEQ = libc::SYS_rseq;
    RT_SIGACTION = libc::SYS_rt_sigaction;
    RT_SIGPROCMASK = libc::SYS_rt_sigprocmask;
    RT_SIGRETURN = libc::SYS_rt_sigreturn;
    SCHED_GETAFFINITY = libc::SYS_sched_getaffinity;
    SCHED_YIELD = libc::SYS_sched_yield;
    SENDFILE = libc::SYS_sendfile;
    SENDTO = libc::SYS_sendto;
    SETFSGID = libc::SYS_setfsgid;
    SETFSUID = libc::SYS_setfsuid;
    SETXATTR = libc::SYS_setxattr;
    SETXATTRAT = 463;
    SET_ROBUST_LIST = libc::SYS_set_robust_list;
    SET_TID_ADDRESS = libc::SYS_set_tid_address;
    SIGALTSTACK = libc::SYS_sigaltstack;
    SOCKET = libc::SYS_socket;
    STATFS = libc::SYS_statfs;
    STATX = libc::SYS_statx;
    SYMLINKAT = libc::SYS_symlinkat;
    SYNCFS = libc::SYS_syncfs;
    SYNC_FILE_RANGE = libc::SYS_sync_file_range;
    TGKILL = libc::SYS_tgkill;
    TRUNCATE = libc::SYS_truncate;
    UMASK = libc::SYS_umask;
    UNAME = libc::SYS_uname;
    UNLINKAT = libc::SYS_unlinkat;
    UNSHARE = libc::SYS_unshare;
    UTIMENSAT = libc::SYS_utimensat;
    WRITE = libc::SYS_write;
    WRITEV = libc::SYS_writev;
}
