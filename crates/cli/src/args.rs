//! The command line. The doc comments of the structs are the help texts.

mod archive;
mod check;
mod commit;
mod convert;
mod diff;
mod session;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mica::Manner;
use tracing::level_filters::LevelFilter;

pub(crate) use archive::{Compress, ExportArgs, ImportArgs, OwnersOf, TarArgs, TarCommand};
pub(crate) use check::{CheckArgs, Prefix};
pub(crate) use commit::CommitArgs;
pub(crate) use convert::{ConvertArgs, To};
pub(crate) use diff::{DiffArgs, When, WithinArgs};
pub(crate) use session::{
    DiscardArgs, DoArgs, Net, PruneArgs, SessionsArgs, SessionsCommand, Share, ShellArgs,
};

/// Give a command or a container its own writable copy of a directory tree
#[derive(Debug, Parser)]
#[command(name = "mica", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Do(Box<DoArgs>),
    Shell(ShellArgs),
    Diff(DiffArgs),
    Commit(CommitArgs),
    Sessions(SessionsArgs),
    Discard(DiscardArgs),
    Mount(MountArgs),
    Umount(UmountArgs),
    Doctor(DoctorArgs),
    Check(CheckArgs),
    Convert(ConvertArgs),
    Export(ExportArgs),
    Import(ImportArgs),
    Tar(TarArgs),
    #[command(hide = true)]
    UnmountHelper(UnmountHelperArgs),
    #[command(hide = true)]
    DoStage,
    #[command(hide = true)]
    DoWithin(WithinArgs),
}

/// Mount an overlay: lower directories with a writable upper one over them
///
/// Returns when the mount answers; the server goes on in the background until the mount is gone. SIGTERM and SIGINT
/// unmount it, lazily if it is busy; a second one ends the server at once. SIGUSR1 writes statistics.
#[derive(Debug, Clone, Args)]
#[command(after_help = OPTIONS_HELP)]
pub(crate) struct MountArgs {
    /// Where to mount: a directory
    #[arg(value_name = "MOUNTPOINT")]
    pub(crate) mountpoint: PathBuf,

    /// Mount options, separated by commas; may be repeated
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    pub(crate) options: Vec<OsString>,

    /// Stay in the foreground
    #[arg(short = 'f', long)]
    pub(crate) foreground: bool,

    /// Stay in the foreground and log what is done, as the mount option `debug`
    #[arg(short = 'd', long)]
    pub(crate) debug: bool,

    /// Say on stderr what was chosen for the mount
    #[arg(short = 'v', long)]
    pub(crate) verbose: bool,

    /// Append log messages to FILE; without it, they go to stderr with -f and nowhere otherwise
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// Log messages of this level and above
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = Level::Warn)]
    pub(crate) log_level: Level,

    /// Write statistics at the end, too: to FILE, else to the log, else to stderr (with -f)
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[expect(
        clippy::option_option,
        reason = "absent, `--stats` and `--stats=FILE` are three things"
    )]
    pub(crate) stats: Option<Option<PathBuf>>,

    /// Leave the server all the rights of its caller, for debugging. Otherwise it keeps its layers, the capabilities
    /// and the system calls that it needs to serve them, and nothing else: `-v` tells what it gave up
    #[arg(long)]
    pub(crate) no_sandbox: bool,

    /// Be the server of a mount whose caller waits at the other end of stdout
    #[arg(long, hide = true, conflicts_with = "foreground")]
    pub(crate) server: bool,

    /// Be the server of a mount that was asked for in another program's manner
    #[arg(long, hide = true, value_parser = manner_of, default_value = MANNERS[0].0)]
    pub(crate) manner: Manner,
}

/// What stands below `mica mount --help`. At most 78 columns, or a terminal breaks the table.
const OPTIONS_HELP: &str = r"Mount options:
  lowerdir=TOP[:...:BOTTOM]
      lower directories, topmost first; up to 500
  lowerdir+=DIR
      one lower directory below those before it; instead of lowerdir=
  datadir+=DIR
      directory without names of its own, for the data of metacopies; after
      all lowerdir+=, and in lowerdir= after ::
  upperdir=DIR
      directory that takes the changes; without it the mount is read-only
  workdir=DIR
      empty directory on the mount of upperdir, where changes are prepared
  userxattr
      keep the marks of the overlay as user.overlay.*, as ordinary users must
  shared
      other processes change the lower layers: who opens a file sees what they
      wrote, all else is seen within a second (or timeout=SECONDS). In
      /etc/fstab: shared_layers, as mount takes shared for itself
  redirect_dir=on|follow|nofollow|off
      rename directories of lowers, by a mark that says where the lowers have
      them (on, the default); only follow such marks (follow), or refuse them
      (nofollow). off follows them, but not with userxattr; it is the default
      there, as the kernel does not follow those
  metacopy=on|off
      copy no data for a change of owner, mode, times or name (on); off is the
      default
  fsync=auto|strict|volatile
      what is on disk before a copied-up file shows: its data (auto, the
      default), or owner, mode and attributes, too, also of directories
      (strict). volatile puts nothing on disk, also if programs ask for it:
      the fastest, but after a crash of the machine upper and work must be
      thrown away. It leaves a mark in workdir, for which every later mount
      refuses it. 0 and 1, as fuse-overlayfs has them, mean volatile and auto
  volatile
      as fsync=volatile
  ro, rw
      read-only, or writable (the default with upperdir)
  nodev, nosuid, noexec, nosymfollow
      refuse devices, setuid and setgid, execution, symbolic links
  dev, suid, exec, symfollow
      allow them (the default)
  noatime, strictatime, relatime, atime, nodiratime, diratime
      set how the mount keeps access times (default: relatime). Reads are
      answered from the page cache and move no access time in any case
  sync, async
      follow each write by an fsync, or not (the default)
  allow_other, allow_root
      let other users, or root alone, see the mount. Root's mounts are for all
      if neither is given, as those of the kernel's overlayfs. Others need
      user_allow_other in /etc/fuse.conf for the first, and have no second
  auto_unmount
      end the mount with its server, however that ends
  timeout=SECONDS
      how long the kernel may cache names and attributes (default: a year);
      entry_timeout=, negative_timeout=, attr_timeout= for each on its own
  max_read=BYTES
      most bytes in one request to read, at least 4096
  max_threads=N, max_idle_threads=N, threaded=0
      threads that serve (default: 10 at most, 2 of them idle), or one
  squash_to_root, squash_to_uid=N, squash_to_gid=N
      show every object as root's, or as user N's and group N's; what is made
      is stored as its maker's. Who has the shown id may do what owners may
  uidmapping=STORED:SHOWN:COUNT[:...], gidmapping=...
      show COUNT ids from STORED on as those from SHOWN on, and store them the
      other way round; ids in no range become the overflow id, 65534
  xattr_permissions=2
      keep owners and modes in an attribute of the files, for filesystems and
      users that cannot give files away; 1 for the attribute that only root
      can set, 0 for real owners (the default). Implies noacl
  noacl
      have no ACLs; those of the layers stay where they are and have no effect
  static_nlink
      show 1 as the link count of every directory
  context=LABEL, fscontext=LABEL, defcontext=LABEL, rootcontext=LABEL
      labels for SELinux; in double quotes if they have a comma in them
  no_sandbox
      leave the server unconfined, as --no-sandbox does (docs/security.md)
  fsname=NAME, subtype=NAME
      source and type that /proc/mounts shows (default: mica, fuse.mica)
  debug
      stay in the foreground and log what is done, as -d
  remount
      set or clear, of the mount that is there: ro, nodev, nosuid, noexec,
      nosymfollow and those of access times

Options of mount(8), FUSE, overlayfs and fuse-overlayfs that are not here are
taken where they ask for what is so in any case (`-v` says why), and refused
with the reason where they do not. docs/options.md lists them all.

A backslash before `:`, `,` or `\` makes it part of a path. Relative paths
start at the current directory. Of two options that contradict each other the
last one counts.

Examples:
  mica mount -o lowerdir=/usr,upperdir=up,workdir=up.work mnt
  mica mount -o lowerdir=layer2:layer1 mnt
  mica umount mnt";

/// How the server is told for whom it mounts.
const MANNERS: [(&str, Manner); 4] = [
    ("mica", Manner::Mica),
    ("mount", Manner::Mount),
    ("sloppy-mount", Manner::SloppyMount),
    ("fuse-overlayfs", Manner::FuseOverlayfs),
];

fn manner_of(name: &str) -> Result<Manner, String> {
    let known = MANNERS.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, manner)| *manner)
        .ok_or_else(|| "no program of that name".into())
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    pub(crate) const fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl MountArgs {
    /// Makes the arguments of a mount that was asked for in another program's manner.
    pub(crate) fn new(mountpoint: PathBuf, options: Vec<OsString>, manner: Manner) -> Self {
        Self {
            mountpoint,
            options,
            manner,
            foreground: false,
            debug: false,
            verbose: false,
            log: None,
            log_level: Level::Warn,
            stats: None,
            no_sandbox: false,
            server: false,
        }
    }

    /// Returns the command line of the server that does what this one asks for.
    pub(crate) fn for_server(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["mount".into(), "--server".into()];
        for options in &self.options {
            line.push(joined("-o", options));
        }
        if self.verbose {
            line.push("-v".into());
        }
        if let Some(file) = &self.log {
            line.push(joined("--log=", file.as_os_str()));
        }
        if self.no_sandbox {
            line.push("--no-sandbox".into());
        }
        line.push(joined("--log-level=", self.log_level.name().as_ref()));
        match &self.stats {
            Some(Some(file)) => line.push(joined("--stats=", file.as_os_str())),
            Some(None) => line.push("--stats".into()),
            None => {}
        }
        for (name, manner) in MANNERS {
            if manner == self.manner {
                line.push(joined("--manner=", name.as_ref()));
            }
        }
        line.push("--".into());
        line.push(self.mountpoint.clone().into());
        line
    }
}

/// Writes a flag and its value as one argument, so that a value that begins with `-` stays one.
fn joined(flag: &str, value: &OsStr) -> OsString {
    let mut argument = OsString::from(flag);
    argument.push(value);
    argument
}

/// Unmount what `mica mount` mounted
#[derive(Debug, Args)]
pub(crate) struct UmountArgs {
    /// Where it is mounted
    #[arg(value_name = "MOUNTPOINT")]
    pub(crate) mountpoint: PathBuf,

    /// Detach it though it is busy; it goes away with its last user
    #[arg(short = 'l', long)]
    pub(crate) lazy: bool,
}

/// Say whether a mount would work here, with which driver, and if not why and what to do
///
/// Looks at this machine and, with options, at what they name. Nothing is mounted, and no layer is changed; in a workdir that
/// nobody uses, scratch files are made and removed. Each of the two drivers, the kernel's overlayfs (`mount -t overlay`) and
/// `mica mount`, works, works with less, or refuses, for reasons that are listed with what to do about them.
///
/// Exit status: 0 if one of the two mounts, 1 if none does, 2 if the command line makes no sense.
#[derive(Debug, Args)]
#[command(after_help = DOCTOR_HELP)]
pub(crate) struct DoctorArgs {
    /// Mount options, as for `mica mount` and `mount -t overlay`; may be repeated
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    pub(crate) options: Vec<OsString>,

    /// Print JSON: each driver with its verdict and what was found, by names that stay
    #[arg(long)]
    pub(crate) json: bool,
}

/// What stands below `mica doctor --help`.
const DOCTOR_HELP: &str = r"Examples:
  mica doctor
  mica doctor -o lowerdir=/usr,upperdir=up,workdir=up.work
  mica doctor --json -o lowerdir=a:b,userxattr | jq '.drivers[].verdict'";

/// Unmount for the server at the other end of stdin
#[derive(Debug, Args)]
pub(crate) struct UnmountHelperArgs {
    /// Where the server's mount is
    #[arg(value_name = "MOUNTPOINT")]
    pub(crate) mountpoint: PathBuf,

    /// Unmount, too, if the server is killed
    #[arg(long)]
    pub(crate) auto: bool,
}

impl UnmountHelperArgs {
    /// Returns the command line of this process.
    pub(crate) fn line(&self) -> Vec<OsString> {
        let mut line: Vec<OsString> = vec!["unmount-helper".into()];
        if self.auto {
            line.push("--auto".into());
        }
        line.push("--".into());
        line.push(self.mountpoint.clone().into());
        line
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn mount(line: &[&str]) -> MountArgs {
        let line = ["mica", "mount"].iter().chain(line);
        match Cli::try_parse_from(line).unwrap().command {
            Command::Mount(args) => args,
            _ => panic!("not a mount"),
        }
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_after_the_mountpoint() {
        for line in [
            ["-o", "lowerdir=a", "-oro", "mnt"],
            ["mnt", "-o", "lowerdir=a", "-oro"],
            ["-olowerdir=a", "mnt", "-o", "ro"],
        ] {
            let args = mount(&line);
            assert_eq!(args.options, ["lowerdir=a", "ro"]);
            assert_eq!(args.mountpoint.to_str(), Some("mnt"));
        }
    }

    #[test]
    fn the_server_is_told_all_that_its_caller_was() {
        let line = [
            "-o-x=1",
            "-v",
            "--log=-l",
            "--log-level",
            "debug",
            "--stats=s",
            "--no-sandbox",
            "--",
            "-mnt",
        ];
        let args = mount(&line);
        let served =
            Cli::try_parse_from(std::iter::once(OsString::from("mica")).chain(args.for_server()));
        let Command::Mount(served) = served.unwrap().command else {
            panic!("not a mount");
        };
        assert!(served.server && !served.foreground && served.verbose);
        assert_eq!(served.options, args.options);
        assert!(served.no_sandbox);
        assert_eq!(served.log, args.log);
        assert_eq!(served.log_level, args.log_level);
        assert_eq!(served.stats, args.stats);
        assert_eq!(served.mountpoint, args.mountpoint);
        for (_, manner) in MANNERS {
            let args = MountArgs::new("m".into(), Vec::new(), manner);
            let line = args.for_server();
            let line: Vec<&str> = line
                .iter()
                .skip(1)
                .map(|word| word.to_str().unwrap())
                .collect();
            assert_eq!(mount(&line).manner, manner);
        }
    }

    #[test]
    fn the_helper_is_told_where_to_unmount() {
        for auto in [false, true] {
            let args = UnmountHelperArgs {
                mountpoint: "-m".into(),
                auto,
            };
            let line = std::iter::once(OsString::from("mica")).chain(args.line());
            let Command::UnmountHelper(told) = Cli::try_parse_from(line).unwrap().command else {
                panic!("not the helper");
            };
            assert_eq!((told.mountpoint, told.auto), (args.mountpoint, auto));
        }
    }

    #[test]
    fn stats_take_a_file_only_after_an_equals_sign() {
        assert_eq!(mount(&["mnt"]).stats, None);
        assert_eq!(mount(&["--stats", "mnt"]).stats, Some(None));
        assert_eq!(mount(&["--stats=f", "mnt"]).stats, Some(Some("f".into())));
    }
}
