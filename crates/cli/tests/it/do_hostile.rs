//! `mica do`: what a hostile command tries, and what it gets.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Child, Command};

use crate::do_kernel::NO_DEVICE;
use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{Outcome, can_mount, has_program, run};

/// Prints a line for each attempt: its name, and the name of the error.
const ATTEMPTS: &str = r#"
import ctypes, errno, fcntl, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
host, store, abstract = int(sys.argv[1]), sys.argv[2], sys.argv[3]
def call(*args):
    if libc.syscall(*args) < 0:
        raise OSError(ctypes.get_errno(), "")
def mount(kind, at, flags=0):
    if libc.mount(b"x", at, kind, flags, None) < 0:
        raise OSError(ctypes.get_errno(), "")
def write(path):
    os.close(os.open(path, os.O_WRONLY))
def disk():
    os.mknod("disk", 0o60666, os.makedev(254, 0)); os.open("disk", os.O_RDONLY)
def memory():
    os.mknod("mem", 0o20666, os.makedev(1, 1)); os.open("mem", os.O_RDONLY)
def chroot():
    before = os.stat("/").st_ino
    os.mkdir("cell"); os.chroot("cell")
    for _ in range(64): os.chdir("..")
    os.chroot(".")
    if os.stat("/").st_ino == before and not os.path.exists(store): raise OSError(0, "")
def attempt(name, f):
    try: f()
    except OSError as e: print(name, errno.errorcode.get(e.errno, "the view"))
    else: print(name, "DONE")
ptrace = lambda pid: lambda: call(101, 16, pid, 0, 0)
attempt("proc-sys", lambda: write("/proc/sys/kernel/hostname"))
attempt("devtmpfs", lambda: mount(b"devtmpfs", b"/mnt"))
attempt("bind", lambda: mount(None, b"/mnt", 4096))
attempt("remount", lambda: mount(None, b"/sys", 32))
attempt("disk", disk)
attempt("memory", memory)
attempt("tiocsti", lambda: fcntl.ioctl(0, 0x5412, b"x"))
attempt("terminal", lambda: os.open("/dev/tty", os.O_RDWR))
attempt("inherited", lambda: os.stat("etc", dir_fd=7))
attempt("store", lambda: os.listdir(store))
attempt("sys", lambda: write("/sys/module/fuse/parameters/max_user_bgreq"))
attempt("sys-create", lambda: os.mkdir("/sys/x"))
attempt("cgroup", lambda: os.mkdir("/sys/fs/cgroup/x"))
attempt("ptrace", ptrace(host))
attempt("kill", lambda: os.kill(host, 0))
attempt("ptrace-init", ptrace(1))
attempt("init-root", lambda: os.stat("/proc/1/root/etc"))
attempt("init-namespace", lambda: os.open("/proc/1/ns/mnt", os.O_RDONLY))
attempt("module", lambda: call(175, b"", 0, b""))
attempt("hostname", lambda: socket.sethostname("x"))
attempt("reboot", lambda: call(169, 0xfee1dead, 672274793, 0, 0))
attempt("clock", lambda: call(227, 0, struct.pack("qq", 0, 0)))
attempt("bpf", lambda: call(321, 11, b"\0" * 64, 64))
attempt("packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("handle", lambda: call(304, -100, b"\x08\0\0\0\1\0\0\0" + b"\0" * 8, 0))
attempt("mounts", lambda: call(272, 0x20000))
attempt("swap", lambda: call(167, b"/dev/null", 0))
attempt("chroot", chroot)
attempt("abstract", lambda: socket.socket(socket.AF_UNIX).connect("\0" + abstract))
"#;

/// The attempts in this order, with what root gets and what an ordinary user gets.
const TABLE: &[(&str, &str, &str)] = &[
    ("proc-sys", "EROFS", "EACCES"),
    ("devtmpfs", "EPERM", "EPERM"),
    ("bind", "EPERM", "EPERM"),
    ("remount", "EPERM", "EPERM"),
    ("disk", "EACCES", "EPERM"),
    ("memory", "EACCES", "EPERM"),
    ("tiocsti", "ENOTTY", "ENOTTY"),
    ("terminal", "ENXIO", "ENXIO"),
    ("inherited", "EBADF", "EBADF"),
    ("store", "ENOENT", "ENOENT"),
    ("sys", "EROFS", "EACCES"),
    ("sys-create", "EROFS", "EROFS"),
    ("cgroup", "EROFS", "EROFS"),
    ("ptrace", "ESRCH", "ESRCH"),
    ("kill", "ESRCH", "ESRCH"),
    ("ptrace-init", "EPERM", "EPERM"),
    ("init-root", "EACCES", "EACCES"),
    ("init-namespace", "EACCES", "EACCES"),
    ("module", "EPERM", "EPERM"),
    ("hostname", "EPERM", "EPERM"),
    ("reboot", "EPERM", "EPERM"),
    ("clock", "EPERM", "EPERM"),
    ("bpf", "EPERM", "EPERM"),
    ("packets", "EPERM", "EPERM"),
    ("handle", "EPERM", "EPERM"),
    ("mounts", "EPERM", "EPERM"),
    ("swap", "EPERM", "EPERM"),
    ("chroot", "the view", "EPERM"),
    ("abstract", "EPERM", "EPERM"),
];

fn check(done: &Outcome, whose: impl Fn(&(&str, &'static str, &'static str)) -> &'static str) {
    let expected: Vec<_> = TABLE
        .iter()
        .map(|row| format!("{} {}", row.0, whose(row)))
        .collect();
    // A kernel may have been built without modules.
    let got = done.stdout.replace("module ENOSYS", "module EPERM");
    let got: Vec<_> = got.lines().collect();
    assert_eq!(got, expected, "{done:?}");
}

/// A process that ends with the test.
struct Stranger(Child);

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Starts a process of the host whose number no process of a session has.
fn stranger() -> Stranger {
    loop {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        let child = Stranger(child);
        if child.0.id() > 1000 {
            return child;
        }
        // In a young namespace of processes numbers are small. The kernel may be built without this: then it takes longer.
        drop(std::fs::write("/proc/sys/kernel/ns_last_pid", "1000"));
    }
}

#[test]
fn a_hostile_command_gets_the_errors_of_the_table() {
    let test = "a_hostile_command_gets_the_errors_of_the_table";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    // Over FUSE, and by the kernel.
    for (no_device, closed) in [("", "true"), (NO_DEVICE, "chmod 600 ../fuse")] {
        let place = Place::new();
        std::fs::write(place.at("attempts"), ATTEMPTS).unwrap();
        let name = format!("mica-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _listener = UnixListener::bind_addr(&address).unwrap();
        let (host, store) = (stranger(), place.at("state/mica/sessions"));
        let pid = host.0.id().to_string();
        let store = store.to_str().unwrap();
        let python = if std::path::Path::new("/usr/bin/python3").exists() {
            "/usr/bin/python3"
        } else {
            "python3"
        };
        let attempts = place.at("attempts");
        let attempts = [python, attempts.to_str().unwrap(), &pid, store, &name];

        let mut line = vec!["do", "--rm", "--"];
        line.extend(attempts);
        let line = place.mica(&line);
        let mut command = Command::new("unshare");
        let prepare = format!("{no_device}exec \"$@\" 7</");
        command.args(["-m", "sh", "-ec", &prepare, "sh"]);
        command.arg(line.get_program()).args(line.get_args());
        command
            .env("XDG_STATE_HOME", place.at("state"))
            .current_dir(place.at("d"));
        check(&run(&mut command), |row| row.1);

        std::fs::remove_dir_all(place.at("state")).unwrap();
        let script = format!("exec ../mica do --rm -- {} 7</", attempts.join(" "));
        check(&as_user(&place, closed, &script), |row| row.2);
    }
}
