//! Opens layers, enters the cage as `mica mount` does, and tries to get out: one line for each attempt, with its errno.
//!
//! `cage_probe in|out OPTIONS`; `out` stays out, to show what the attempts do there. The tests in
//! tests/it/cage.rs run it, as a test runner has threads of its own and may not be caged.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "it is part of a test, and talks to it"
)]

use std::fs::File;
use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use mica::vfs::{Caller, Errno, FileName, Filesystem as _, KillPriv, Mode, NodeId};
use mica::{MountSpec, Stack, enter_cage};
use mica_sys::seccomp::{Attempt, attempt};
use rustix::fs::{FileType, OFlags};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [place, options] = <[String; 2]>::try_from(arguments).unwrap();
    let spec = MountSpec::parse([options]).unwrap().stack;
    let stack = Stack::open(&spec).unwrap();
    let namespace = File::open("/proc/self/ns/mnt").unwrap();
    if place == "in" {
        println!("{}", enter_cage(&spec).unwrap());
    }
    files();
    programs();
    namespaces(&namespace);
    rights();
    work_goes_on(&stack);
}

/// Prints how an attempt ended.
fn tried<T>(what: &str, outcome: Result<T, Errno>) {
    let name = match outcome {
        Ok(_) => "done".into(),
        Err(Errno::PERM) => "EPERM".into(),
        Err(Errno::NOENT) => "ENOENT".into(),
        Err(Errno::NOSYS) => "ENOSYS".into(),
        Err(Errno::ROFS) => "EROFS".into(),
        Err(Errno::ACCESS) => "EACCES".into(),
        Err(other) => format!("{other:?}"),
    };
    println!("{what}: {name}");
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap()
}

fn open(path: &str) -> Result<File, Errno> {
    File::open(path).map_err(errno)
}

fn files() {
    tried("a file of the host", open("/etc/passwd"));
    tried("the root of another process", open("/proc/1/root"));
    tried("memory of this process", open("/proc/self/mem"));
    tried("a device", open("/dev/null"));
    let make = rustix::fs::mkdir("/new", rustix::fs::Mode::RWXU);
    tried("a new directory in the root", make);
    if make.is_ok() {
        rustix::fs::rmdir("/new").unwrap();
    }
    let up = "../".repeat(40);
    let from_any = (0..64).find_map(|fd| open(&format!("/proc/self/fd/{fd}/{up}etc/passwd")).ok());
    tried(
        "a file of the host, up from a descriptor",
        from_any.ok_or(Errno::NOENT),
    );
    tried("a device in the upper", device_in_upper());
}

/// Makes /dev/null anew in the upper and opens it.
fn device_in_upper() -> Result<(), Errno> {
    let directories = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper = (0..64).find_map(|fd| {
        let path = format!("/proc/self/fd/{fd}");
        let link = rustix::fs::readlink(path.as_str(), Vec::new()).ok()?;
        let is_upper = link.to_bytes().ends_with(b"/upper");
        let none = rustix::fs::Mode::empty();
        is_upper.then(|| rustix::fs::open(path.as_str(), directories, none).unwrap())
    });
    let upper = upper.ok_or(Errno::NOENT)?;
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(&upper, "null", FileType::CharacterDevice, mode, null)?;
    let opened = rustix::fs::openat(&upper, "null", OFlags::RDWR, rustix::fs::Mode::empty());
    rustix::fs::unlinkat(&upper, "null", rustix::fs::AtFlags::empty())?;
    opened.map(drop)
}

fn programs() {
    let parent = rustix::process::getppid().unwrap();
    tried(
        "a signal to the parent",
        rustix::process::test_kill_process(parent),
    );
    tried(
        "a descriptor of the parent",
        rustix::process::pidfd_open(parent, PidfdFlags::empty()),
    );
    tried(
        "a child",
        Command::new("true")
            .spawn()
            .map(|mut child| child.wait())
            .map_err(errno),
    );
    // It would not come back: no program of that name is there.
    let exec = Command::new("/nowhere").exec();
    tried("another program", Err::<(), _>(errno(exec)));
    tried("a socket", UdpSocket::bind("127.0.0.1:0").map_err(errno));
    tried("tracing", attempt(Attempt::Ptrace));
    tried("a program in the kernel", attempt(Attempt::Bpf));
    tried("calls through a ring", attempt(Attempt::IoUring));
    tried("code from memory", attempt(Attempt::Executable));
}

fn namespaces(namespace: &File) {
    tried("a user namespace", attempt(Attempt::UnshareUser));
    tried("a child in a user namespace", attempt(Attempt::CloneUser));
    tried("a child by clone3", attempt(Attempt::Clone3));
    let back = rustix::thread::move_into_link_name_space(namespace.as_fd(), None);
    tried("a mount namespace by descriptor", back);
    let mount = rustix::mount::mount("none", "/nowhere", "tmpfs", MountFlags::empty(), c"");
    tried("a mount", mount);
    tried(
        "an unmount",
        rustix::mount::unmount("/nowhere", UnmountFlags::empty()),
    );
    tried("another root", rustix::process::chroot("/nowhere"));
}

fn rights() {
    let all = CapabilitySet::from_bits_retain((1 << 40) - 1);
    let sets = CapabilitySets {
        effective: all,
        permitted: all,
        inheritable: CapabilitySet::empty(),
    };
    tried(
        "all capabilities",
        rustix::thread::set_capabilities(None, sets),
    );
    tried(
        "privileges by exec",
        rustix::thread::set_no_new_privs(false),
    );
    let limit = Rlimit {
        current: Some(16),
        maximum: Some(16),
    };
    tried(
        "another limit",
        rustix::process::setrlimit(Resource::Core, limit),
    );
    let terminal = File::open("/proc/self/fd/0").unwrap();
    tried("a terminal", rustix::termios::tcgetattr(&terminal));
    let init = Pid::INIT;
    tried("a signal to init", rustix::process::test_kill_process(init));
}

/// Changes a file of the lower and makes one, on a thread, as a server does.
fn work_goes_on(stack: &Stack) {
    let merged = stack.overlay();
    let caller = Caller {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        umask: 0,
    };
    let made = std::thread::scope(|scope| {
        let serve = || {
            let hello = merged.lookup(NodeId::ROOT, FileName::new(b"hello")?)?;
            merged.write(hello.node, 5, b", world", KillPriv::Clear)?;
            let name = FileName::new(b"new")?;
            merged.create(&caller, NodeId::ROOT, name, Mode::new(0o640))?;
            merged.mkdir(
                &caller,
                NodeId::ROOT,
                FileName::new(b"dir")?,
                Mode::new(0o750),
            )
        };
        scope.spawn(serve).join().unwrap()
    });
    tried("serving", made);
}
