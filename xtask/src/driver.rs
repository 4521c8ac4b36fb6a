//! Who overlays: kernel overlayfs, Mica, or a fuse-overlayfs, behind one `mount`.
//!
//! All of them are started as a user would: a command line with `lowerdir=`, `upperdir=` and `workdir=`. Servers
//! stay in the foreground, so that their process id and their exit status are known.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, PidfdFlags};

use crate::dump::{self, Dump};
use crate::image::make_open;
use crate::repo::{self, Profile};
use crate::run::{find_program, quiet, show};

/// How long a server may take to mount, or to end after an unmount.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells a server that was built with faults which of them to make.
pub(crate) const PLANT: &str = "MICA_PLANT";

/// Tells the same server which file to add to, at its end, how often each rule took effect.
const MET: &str = "MICA_MET";

/// Who is tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Subject {
    /// The mica program of this checkout
    Mica,
    /// Kernel overlayfs, which shows that a test itself is right
    Kernel,
    /// An installed fuse-overlayfs, which shows that a test can fail
    FuseOverlayfs,
}

impl Subject {
    /// Returns the subject's driver; Mica is built.
    pub(crate) fn driver(self, profile: Profile) -> Result<Driver> {
        Ok(match self {
            Self::Mica => Driver::Mica(repo::build_mica(profile)?),
            Self::Kernel => Driver::Kernel,
            Self::FuseOverlayfs => Driver::FuseOverlayfs(
                find_program("fuse-overlayfs").context("fuse-overlayfs is not installed")?,
            ),
        })
    }

    /// Returns the program, which is built, of the one that has sessions.
    pub(crate) fn with_sessions(self, profile: Profile) -> Result<PathBuf> {
        ensure!(self == Self::Mica, "nothing but Mica has sessions");
        repo::build_mica(profile)
    }

    /// Returns the word that selects this subject on the command line.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Mica => "mica",
            Self::Kernel => "kernel",
            Self::FuseOverlayfs => "fuse-overlayfs",
        }
    }
}

/// An implementation of overlays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Driver {
    /// The kernel's overlayfs.
    Kernel,
    /// `mica mount`, with the path of the program.
    Mica(PathBuf),
    /// A fuse-overlayfs, with the path of the program.
    FuseOverlayfs(PathBuf),
}

/// The directories of an overlay.
#[derive(Debug, Clone)]
pub(crate) struct Stack {
    /// The topmost first.
    pub(crate) lowers: Vec<PathBuf>,
    /// Data-only layers below them.
    pub(crate) data: Vec<PathBuf>,
    pub(crate) upper: PathBuf,
    pub(crate) work: PathBuf,
    /// Further mount options, the same words for every driver.
    pub(crate) options: String,
}

impl Stack {
    /// Makes `lower`, `upper` and `work` below `base`, and a mount point `merged` beside them; others may walk through.
    pub(crate) fn below(base: &Path) -> Result<Self> {
        let lower = make_open(&base.join("lower"))?;
        Self::over(vec![lower], base)
    }

    /// The same over `lowers` that are there.
    pub(crate) fn over(lowers: Vec<PathBuf>, base: &Path) -> Result<Self> {
        make_open(&base.join("merged"))?;
        Ok(Self {
            lowers,
            data: Vec::new(),
            upper: make_open(&base.join("upper"))?,
            work: make_open(&base.join("work"))?,
            options: String::new(),
        })
    }

    /// Returns the topmost lower.
    pub(crate) fn lower(&self) -> Result<&Path> {
        let lower = self.lowers.first().context("a stack without a lower")?;
        Ok(lower)
    }

    /// Returns the mount point that [`below`](Self::below) made.
    pub(crate) fn point(&self) -> PathBuf {
        self.upper.with_file_name("merged")
    }

    /// Returns the mount options that name the directories.
    pub(crate) fn mount_options(&self) -> String {
        let lowers: Vec<_> = self
            .lowers
            .iter()
            .map(|dir| dir.to_string_lossy())
            .collect();
        let data: String = self
            .data
            .iter()
            .map(|dir| format!("::{}", dir.display()))
            .collect();
        let mut options = format!(
            "lowerdir={}{data},upperdir={},workdir={}",
            lowers.join(":"),
            self.upper.display(),
            self.work.display()
        );
        if !self.options.is_empty() {
            options.push(',');
            options.push_str(&self.options);
        }
        options
    }
}

/// How a server is started.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Server<'a> {
    /// Where Mica writes its statistics.
    pub(crate) stats: Option<&'a Path>,
    /// The limit of its open files, if not this process's.
    pub(crate) open_files: Option<u64>,
    /// What Mica logs, if not what it does by itself.
    pub(crate) log_level: Option<&'a str>,
    /// A fault for it to make, where the program was built with faults.
    pub(crate) plant: Option<&'a str>,
    /// Where such a program notes which rules took effect.
    pub(crate) met: Option<&'a Path>,
}

impl Server<'_> {
    /// Returns a command that starts `program` so.
    fn command(self, program: &Path) -> Command {
        let Some(limit) = self.open_files else {
            return Command::new(program);
        };
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={limit}:{limit}"))
            .arg(program);
        command
    }
}

impl Driver {
    /// Returns a short name for tables.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Mica(_) => "mica",
            Self::FuseOverlayfs(_) => "fuse-overlayfs",
        }
    }

    /// Returns the program that is started, if there is one.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        match self {
            Self::Kernel => None,
            Self::Mica(program) | Self::FuseOverlayfs(program) => Some(program.clone()),
        }
    }

    /// Mounts `stack` on `point` and returns when the mount answers.
    pub(crate) fn mount(&self, stack: &Stack, point: &Path) -> Result<Mounted> {
        self.mount_as(stack, point, Server::default())
    }

    /// Mounts as [`mount`](Self::mount) does; `server` says how the server is started, if there is one.
    pub(crate) fn mount_as(
        &self,
        stack: &Stack,
        point: &Path,
        server: Server<'_>,
    ) -> Result<Mounted> {
        let options = stack.mount_options();
        let mut command = match self {
            Self::Kernel => {
                let data = std::ffi::CString::new(options.clone())?;
                rustix::mount::mount("overlay", point, "overlay", MountFlags::empty(), &*data)
                    .with_context(|| format!("the kernel does not mount {options}"))?;
                return Ok(Mounted {
                    point: point.to_path_buf(),
                    server: None,
                });
            }
            Self::Mica(program) => {
                let mut command = server.command(program);
                command.args(["mount", "-f"]);
                if let Some(level) = server.log_level {
                    command.arg(format!("--log-level={level}"));
                }
                if let Some(stats) = server.stats {
                    command.arg(format!("--stats={}", stats.display()));
                }
                command
            }
            Self::FuseOverlayfs(program) => {
                let mut command = server.command(program);
                command.arg("-f");
                command
            }
        };
        command
            .arg("-o")
            .arg(format!("{options},allow_other"))
            .arg(point);
        if let Some(fault) = server.plant {
            command.env(PLANT, fault);
        }
        if let Some(met) = server.met {
            command.env(MET, met);
        }
        let server = command
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", show(&command)))?;
        // From here on dropping `mounted` ends the server.
        let mut mounted = Mounted {
            point: point.to_path_buf(),
            server: Some(server),
        };
        mounted
            .wait_until_mounted()
            .with_context(|| show(&command))?;
        Ok(mounted)
    }
}

impl Driver {
    /// Reads the tree that it has mounted on `point`. Numbers of the kernel's overlayfs are what its options make them.
    pub(crate) fn read(&self, point: &Path) -> Result<Dump> {
        if *self == Self::Kernel {
            dump::read(point)
        } else {
            dump::read_numbered(point)
        }
    }
}

/// A mounted overlay. Dropping it unmounts it and ends its server.
#[derive(Debug)]
pub(crate) struct Mounted {
    point: PathBuf,
    server: Option<Child>,
}

impl Mounted {
    /// Returns the process id of the server, if there is one.
    pub(crate) fn server_pid(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Unmounts, and waits for the server to end by itself with status 0.
    pub(crate) fn unmount(mut self) -> Result<()> {
        detach(&self.point).with_context(|| format!("cannot unmount {}", self.point.display()))?;
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        match wait(&mut server)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("the server ended with {status} after the unmount"),
            None => {
                server.kill().context("cannot kill the server")?;
                server.wait().context("cannot wait for the server")?;
                bail!("the server was still there {PATIENCE:?} after the unmount")
            }
        }
    }

    /// Kills the server by SIGKILL and waits for its end. The mount stays, and answers nothing any more.
    pub(crate) fn kill_server(&mut self) -> Result<()> {
        let mut server = self.server.take().context("the kernel cannot be killed")?;
        server.kill().context("cannot kill the server")?;
        server.wait().context("cannot wait for the server")?;
        Ok(())
    }

    /// Removes the mount of a server that is gone, as its user would.
    pub(crate) fn remove_dead(self, driver: &Driver) -> Result<()> {
        let mut command = match driver {
            Driver::Mica(program) => Command::new(program),
            Driver::Kernel | Driver::FuseOverlayfs(_) => Command::new("env"),
        };
        quiet(command.arg("umount").arg(&self.point))?;
        Ok(())
    }

    fn wait_until_mounted(&mut self) -> Result<()> {
        let start = Instant::now();
        // Polled, it tells that mounts have changed since it was opened or polled last (mounts_poll).
        let table = File::open("/proc/self/mountinfo").context("cannot open mountinfo")?;
        let end = self.server.as_ref().map(end_of).transpose()?;
        while !is_mounted(&self.point)? {
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait()?
            {
                bail!("the server ended with {status} before the mount appeared");
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            if left.is_zero() {
                bail!("no mount after {PATIENCE:?}");
            }
            let mut events = vec![PollFd::new(&table, PollFlags::PRI)];
            events.extend(end.iter().map(|end| PollFd::new(end, PollFlags::IN)));
            wait_for(&mut events, left)?;
        }
        // The first request waits for the server's INIT.
        rustix::fs::statfs(&self.point).context("the mount does not answer")?;
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mounted = is_mounted(&self.point).unwrap_or(true);
        if mounted && quiet(Command::new("umount").arg(&self.point)).is_err() {
            drop(quiet(Command::new("umount").arg("-l").arg(&self.point)));
        }
        if let Some(mut server) = self.server.take() {
            drop(server.kill());
            drop(server.wait());
        }
    }
}

/// Unmounts what nobody uses for long: who looks at all mounts of a machine has each of them open for a moment. When that
/// moment is over nothing tells, so it is tried again.
pub(crate) fn detach(point: &Path) -> Result<(), Errno> {
    let start = Instant::now();
    loop {
        match rustix::mount::unmount(point, UnmountFlags::empty()) {
            Err(Errno::BUSY) if start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

/// Waits for `child` to end, at most [`PATIENCE`].
fn wait(child: &mut Child) -> Result<Option<std::process::ExitStatus>> {
    let end = end_of(child)?;
    wait_for(&mut [PollFd::new(&end, PollFlags::IN)], PATIENCE)?;
    child.try_wait().context("cannot wait for the server")
}

/// Opens what can be read when `child` has ended.
fn end_of(child: &Child) -> Result<OwnedFd> {
    let pid = Pid::from_child(child);
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).context("cannot watch the server")
}

/// Waits for one of `events`, at most for `time`.
fn wait_for(events: &mut [PollFd<'_>], time: Duration) -> Result<()> {
    let time = Timespec::try_from(time).context("too long")?;
    rustix::io::retry_on_intr(|| rustix::event::poll(events, Some(&time)))
        .context("cannot wait")?;
    Ok(())
}

/// Says whether something is mounted on `point`, without asking the filesystem there.
fn is_mounted(point: &Path) -> Result<bool> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("cannot read mountinfo")?;
    Ok(table.lines().any(|line| {
        line.split(' ')
            .nth(4)
            .is_some_and(|field| Path::new(field) == point)
    }))
}
