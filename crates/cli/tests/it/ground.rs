//! Directories to work in, the program under test, and what keeps both from outliving a test.

use std::cell::Cell;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use tempfile::TempDir;

/// The longest that anything here may take. Nothing waits for it to pass: it bounds what would hang.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);

/// Waits until `condition` holds, within [`LIMIT`].
#[track_caller]
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "what is waited for does not come"
        );
        thread::yield_now();
    }
}

/// The environment variable by which the processes of a test are found again.
const MARK: &str = "MICA_TEST_GROUND";

/// How a program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Checks that stderr has `part`.
    #[track_caller]
    pub(crate) fn assert_said(&self, part: &str) {
        assert!(self.stderr.contains(part), "no `{part}` in {self:?}");
    }
}

/// The outcome of a success that says nothing.
pub(crate) fn ok() -> Outcome {
    Outcome {
        status: Some(0),
        stdout: String::new(),
        stderr: String::new(),
    }
}

/// Runs `command` to its end, within [`LIMIT`].
#[track_caller]
pub(crate) fn run(command: &mut Command) -> Outcome {
    let shown = format!("{command:?}");
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = Pid::from_child(&child);
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(LIMIT) else {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        panic!("{shown} does not end");
    };
    let output = output.unwrap();
    Outcome {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Returns the program with arguments.
pub(crate) fn mica(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mica"));
    command.args(arguments);
    command
}

/// Tells whether this test can run as root, and says so if not.
pub(crate) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "needs root");
    }
    root
}

/// Tells whether this test can mount, and says so if not.
pub(crate) fn can_mount(test: &str) -> bool {
    if !Path::new("/dev/fuse").exists() {
        skipped(test, "needs /dev/fuse");
        return false;
    }
    is_root(test)
}

/// Tells whether a program is in `PATH`, and says so if not.
pub(crate) fn has_program(test: &str, program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !has {
        skipped(test, &format!("needs {program}"));
    }
    has
}

/// Says that a test was not run; where every test has to run, fails.
pub(crate) fn skipped(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    assert!(
        std::env::var_os("MICA_REQUIRE_ALL").is_none_or(|all| all != "1"),
        "{test} cannot run: {reason}"
    );
}

/// Held by all tests; by a test that makes a mount namespace it is held alone. A new namespace has a copy of every mount,
/// and so keeps those of other tests alive that think to have unmounted them.
static NAMESPACE: RwLock<()> = RwLock::new(());

/// With whom a test shares the mount namespace.
#[derive(Debug)]
enum Company {
    Others {
        _guard: RwLockReadGuard<'static, ()>,
    },
    Nobody {
        _guard: RwLockWriteGuard<'static, ()>,
    },
    /// The ground that its thread has already, which holds the lock: to wait for it once more would be for ever if a test
    /// waits to be alone.
    Same,
}

thread_local! {
    /// How many grounds this thread has.
    static GROUNDS: Cell<usize> = const { Cell::new(0) };
}

/// A directory of its own for one test, with `l`, `u`, `w` and `m` in it.
///
/// When dropped, whatever the test left is undone: mounts are detached, servers are killed.
#[derive(Debug)]
pub(crate) struct Ground {
    dir: TempDir,
    _company: Company,
}

impl Ground {
    pub(crate) fn new() -> Self {
        if GROUNDS.get() > 0 {
            return Self::with(Company::Same);
        }
        let _guard = NAMESPACE.read().unwrap_or_else(PoisonError::into_inner);
        Self::with(Company::Others { _guard })
    }

    /// For a test that makes a mount namespace: no other test runs meanwhile.
    pub(crate) fn alone() -> Self {
        let _guard = NAMESPACE.write().unwrap_or_else(PoisonError::into_inner);
        Self::with(Company::Nobody { _guard })
    }

    fn with(company: Company) -> Self {
        let dir = TempDir::new().unwrap();
        for name in ["l", "u", "w", "m"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        GROUNDS.set(GROUNDS.get() + 1);
        Self {
            dir,
            _company: company,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Returns the program, started in this directory.
    pub(crate) fn mica(&self, arguments: &[&str]) -> Command {
        let mut command = mica(arguments);
        self.here(&mut command);
        command
    }

    /// Makes a link by which the program is called by another name, in `bin`.
    pub(crate) fn link(&self, name: &str) -> PathBuf {
        let link = self.at("bin").join(name);
        fs::create_dir_all(self.at("bin")).unwrap();
        if !link.is_symlink() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mica"), &link).unwrap();
        }
        link
    }

    /// Returns the program, called by another name in this directory.
    pub(crate) fn called_as(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.link(name));
        self.here(command.args(arguments));
        command
    }

    /// Lets a program start in this directory, and marks it and its servers as this test's.
    pub(crate) fn here<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.current_dir(self.root()).env(MARK, self.root())
    }

    /// Runs the program and shows this directory as `$` in what it says.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        self.shown(run(&mut self.mica(arguments)))
    }

    /// Runs a shell script in `dir` as a user with one group.
    #[track_caller]
    pub(crate) fn as_user(&self, uid: u32, gid: u32, dir: &str, script: &str) -> Outcome {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid.to_string(), "--regid", &gid.to_string()]);
        command.args(["--clear-groups", "sh", "-c", script]);
        run(command.current_dir(self.at(dir)))
    }

    pub(crate) fn shown(&self, outcome: Outcome) -> Outcome {
        let root = self.root().to_str().unwrap();
        Outcome {
            status: outcome.status,
            stdout: outcome.stdout.replace(root, "$"),
            stderr: outcome.stderr.replace(root, "$"),
        }
    }

    /// Mounts `l`, `u` and `w` at `m`, in the background.
    #[track_caller]
    pub(crate) fn mount(&self, more: &[&str]) {
        let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
        let mount = [&["mount", "-o", options, "m"], more].concat();
        assert_eq!(self.run(&mount), ok());
    }

    /// Unmounts what is mounted at `name`.
    ///
    /// What other tests start has a copy of each file that is open here, from its fork to its exec: it keeps the mount in use.
    #[track_caller]
    pub(crate) fn unmount(&self, name: &str) {
        let mut outcome = ok();
        until(|| {
            outcome = self.run(&["umount", name]);
            !outcome.stderr.contains("it is in use")
        });
        assert_eq!(outcome, ok());
    }

    /// Copies the program to `name`.
    ///
    /// By a process of its own: what another test starts while this one writes would inherit the descriptor, and a program
    /// that is open for writing cannot be started (`ETXTBSY`).
    #[track_caller]
    pub(crate) fn copy_program(&self, name: &str) {
        let mut copy = Command::new("cp");
        copy.arg(env!("CARGO_BIN_EXE_mica")).arg(self.at(name));
        assert_eq!(run(&mut copy), ok());
    }

    /// Returns the fields of the topmost mount at `name` in /proc/mounts: source, mountpoint, type, options.
    pub(crate) fn mounted(&self, name: &str) -> Option<Vec<String>> {
        let at = self.at(name);
        let table = fs::read_to_string("/proc/mounts").unwrap();
        let lines = table
            .lines()
            .map(|line| line.split(' ').map(str::to_owned).collect());
        lines
            .rev()
            .find(|fields: &Vec<String>| Path::new(&fields[1]) == at)
    }

    /// Returns the processes that were started for this directory and still run.
    fn processes(&self) -> Vec<Pid> {
        let mark = [
            MARK.as_bytes(),
            b"=",
            self.root().as_os_str().as_bytes(),
            b"\0",
        ]
        .concat();
        let started_here = |pid: &i32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.windows(mark.len()).any(|w| w == mark)
        };
        let processes = fs::read_dir("/proc").unwrap();
        let numbers = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers
            .filter(started_here)
            .filter_map(Pid::from_raw)
            .collect()
    }

    /// Returns those of the processes that serve a mount in the background.
    pub(crate) fn servers(&self) -> Vec<Pid> {
        self.processes_with("--server")
    }

    /// Returns those of the processes that unmount for a server.
    pub(crate) fn helpers(&self) -> Vec<Pid> {
        self.processes_with("unmount-helper")
    }

    /// Returns those of the processes that have `argument` on their command line.
    fn processes_with(&self, argument: &str) -> Vec<Pid> {
        let has_it = |pid: &Pid| {
            let line =
                fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            line.split(|&b| b == 0)
                .any(|one| one == argument.as_bytes())
        };
        self.processes().into_iter().filter(has_it).collect()
    }

    /// Returns the one server of this directory.
    #[track_caller]
    pub(crate) fn server(&self) -> Server {
        let servers = self.servers();
        let [pid] = servers.as_slice() else {
            panic!("{} servers run", servers.len());
        };
        Server::watch(*pid)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        GROUNDS.set(GROUNDS.get() - 1);
        let table = fs::read_to_string("/proc/mounts").unwrap_or_default();
        for line in table.lines().rev() {
            let point = line.split(' ').nth(1).unwrap_or_default();
            if Path::new(point).starts_with(self.root()) {
                let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
            }
        }
        for pid in self.processes() {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// A running server, which is not a child of the test.
#[derive(Debug)]
pub(crate) struct Server {
    pid: Pid,
    fd: std::os::fd::OwnedFd,
}

impl Server {
    pub(crate) fn watch(pid: Pid) -> Self {
        let fd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
        Self { pid, fd }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(&self.fd, signal).unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Kills it and waits until it has ended.
    #[track_caller]
    pub(crate) fn dies(&self) {
        self.signal(Signal::KILL);
        self.ends();
    }

    /// Stops it and waits until each of its threads stands still: a signal is answered by one thread after the other.
    #[track_caller]
    pub(crate) fn stops(&self) {
        self.signal(Signal::STOP);
        until(|| self.stands_still());
    }

    fn stands_still(&self) -> bool {
        fs::read_dir(format!("/proc/{}/task", self.pid()))
            .unwrap()
            .all(|thread| {
                let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap();
                // The state follows the name, which may hold anything.
                let (_, state) = stat.rsplit_once(") ").unwrap();
                state.starts_with('T')
            })
    }

    /// Waits until it has ended, within [`LIMIT`].
    #[track_caller]
    pub(crate) fn ends(&self) {
        assert!(self.ends_within(LIMIT), "the server does not end");
    }

    /// Tells whether it has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.ends_within(Duration::ZERO)
    }

    fn ends_within(&self, limit: Duration) -> bool {
        let limit = Timespec::try_from(limit).unwrap();
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        poll(&mut fds, Some(&limit)).unwrap() == 1
    }
}
