//! The filesystem of a job's layers, and the user namespace in which it works on them, if it does.

use std::io::Write;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::JobArgs;
use super::layout::Rights;
use crate::image::{Scratch, format, open_to_all};
use crate::private;

/// What the layers lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Disk {
    /// In memory
    Tmpfs,
    /// On a loop device
    Ext4,
    /// On a loop device
    Xfs,
    /// On a loop device
    Btrfs,
}

impl Disk {
    /// Returns the word that selects it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// Says whether a line can be compared here: the kernel has changed `protattr` when a flag is refused that the filesystem
    /// does not have (D-36).
    pub(super) fn takes_line(self, line: &str) -> bool {
        let flags = line
            .split_once("flags ")
            .and_then(|(_, rest)| rest.rsplit(' ').next());
        self != Self::Tmpfs || flags.is_none_or(|flags| !flags.contains('S'))
    }

    fn make(self, home: &Path) -> Result<Scratch> {
        let image = home.join("image");
        match self {
            Self::Tmpfs => return Scratch::tmpfs(),
            Self::Ext4 => return Scratch::ext4(256),
            Self::Xfs => format(&image, 512, &["mkfs.xfs", "-q"])?,
            Self::Btrfs => format(&image, 512, &["mkfs.btrfs", "-q"])?,
        }
        Scratch::of_image(&image)
    }
}

/// The ids of a user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Userns {
    /// 65536 ids
    Ranges,
    /// One id
    Single,
    /// The first job has ranges, the second one id, and so on
    Both,
}

impl Userns {
    /// Returns the word that selects it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Ranges => "ranges",
            Self::Single => "single",
            Self::Both => "both",
        }
    }
}

/// The first id outside that a namespace maps, and how many.
fn mapping(rights: Rights) -> (u32, u32) {
    match rights {
        Rights::Single => (1000, 1),
        Rights::All | Rights::Mapped => (100_000, 65536),
    }
}

/// A job's filesystem. Dropping it unmounts it.
#[derive(Debug)]
pub(super) struct Ground {
    base: PathBuf,
    userns: Option<Rights>,
    _disk: Scratch,
    /// Holds the image, and programs that others may reach.
    plain: Scratch,
}

impl Ground {
    /// Makes the filesystem that `args` ask for.
    pub(super) fn new(args: &JobArgs) -> Result<Self> {
        let plain = Scratch::tmpfs()?;
        let disk = args.all.disk.make(plain.path())?;
        let base = disk.path().join("base");
        std::fs::create_dir(&base)?;
        open_to_all(&base)?;
        let userns = args.all.userns.map(|userns| match userns {
            Userns::Ranges => Rights::Mapped,
            Userns::Single => Rights::Single,
            Userns::Both if args.job.is_multiple_of(2) => Rights::Mapped,
            Userns::Both => Rights::Single,
        });
        if let Some(rights) = userns {
            let (first, _) = mapping(rights);
            chown(&base, Some(first), Some(first))?;
        }
        Ok(Self {
            base,
            userns,
            _disk: disk,
            plain,
        })
    }

    /// Returns the directory for the layers.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// Returns the rights in the namespace, if there is to be one.
    pub(super) fn userns(&self) -> Option<Rights> {
        self.userns
    }

    /// Runs the job inside a user namespace of somebody without rights outside.
    pub(super) fn enter(&self, args: &JobArgs, rights: Rights) -> Result<()> {
        let (first, count) = mapping(rights);
        let program = |from: &Path, name: &str| -> Result<PathBuf> {
            let to = self.plain.path().join(name);
            std::fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
            open_to_all(&to)?;
            Ok(to)
        };
        let xtask = program(&std::env::current_exe()?, "xtask")?;
        let subject = program(&args.program, "subject")?;
        private::open_fuse(self.plain.path())?;
        // The namespace waits until its ids are mapped, which only root outside may do.
        let script = "read _; exec setpriv --reuid=0 --regid=0 --clear-groups \"$@\"";
        let alone = "read _; exec \"$@\"";
        let inside = JobArgs {
            program: subject,
            base: Some(self.base.clone()),
            ..args.clone()
        };
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={first}"), format!("--regid={first}")])
            .args(["--clear-groups", "--", "unshare", "--user", "--mount"])
            .args(["--propagation", "private", "--", "sh", "-c"])
            .arg(if rights == Rights::Single {
                alone
            } else {
                script
            })
            .arg("sh")
            .arg(&xtask)
            .arg("oracle-seat")
            .args(inside.words())
            .stdin(Stdio::piped());
        let mut child = command.spawn().context("cannot make a user namespace")?;
        let proc = PathBuf::from(format!("/proc/{}", child.id()));
        wait_for_namespace(&proc)?;
        if rights == Rights::Single {
            std::fs::write(proc.join("setgroups"), "deny")?;
        }
        for map in ["uid_map", "gid_map"] {
            std::fs::write(proc.join(map), format!("0 {first} {count}\n"))
                .with_context(|| format!("cannot write {map}"))?;
        }
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(b"\n")?;
        }
        let status = child.wait()?;
        anyhow::ensure!(
            status.success(),
            "the job in a user namespace ended with {status}"
        );
        Ok(())
    }
}

/// Waits until the process of `proc` is in a user namespace of its own. It cannot tell, for it becomes another program
/// before that reads its first byte, so it is looked at.
fn wait_for_namespace(proc: &Path) -> Result<()> {
    let ours = std::fs::read_link("/proc/self/ns/user")?;
    for _ in 0..1000 {
        match std::fs::read_link(proc.join("ns/user")) {
            Ok(theirs) if theirs != ours => return Ok(()),
            _ => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
    anyhow::bail!("no user namespace after 5 s")
}

/// Returns what this process may do, by the ids that it has.
pub(super) fn rights_of_this_process() -> Result<Rights> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    let count = map.split_whitespace().nth(2).context("no uid_map")?;
    Ok(match count {
        "4294967295" => Rights::All,
        "1" => Rights::Single,
        _ => Rights::Mapped,
    })
}
