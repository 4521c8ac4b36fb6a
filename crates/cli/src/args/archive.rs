//! The command lines of `mica export`, `mica import` and `mica tar`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use mica::{Compression, ImportOwners};

use super::check::Prefix;

/// Write the changes in an upper directory, or in a session, as an OCI image layer
///
/// A layer is a tar archive; what is gone is in it as a file `.wh.NAME`. The same upper has the same bytes each time.
/// Directories that a mount uses are refused.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXPORT_HELP)]
pub(crate) struct ExportArgs {
    /// The upper directory, or the name of a session; `./N` is a directory in any case
    #[arg(value_name = "UPPER|N")]
    pub(crate) from: OsString,

    /// Write to FILE; without it, to stdout
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// How it is compressed; without it, as the name of FILE ends: .gz, .tgz, .zst, .tzst, and not at all otherwise
    #[arg(long, value_name = "KIND", value_enum)]
    pub(crate) compress: Option<Compress>,

    /// A lower directory that the upper was used with, if directories were renamed; repeat it for each, topmost first
    #[arg(long = "lower", value_name = "DIR")]
    pub(crate) lowers: Vec<PathBuf>,

    /// A data-only lower directory, in which metacopies may have their data; repeat it for each
    #[arg(long, value_name = "DIR", requires = "lowers")]
    pub(crate) data: Vec<PathBuf>,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compress {
    None,
    Gzip,
    Zstd,
}

impl Compress {
    pub(crate) const fn compression(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Gzip => Compression::Gzip,
            Self::Zstd => Compression::Zstd,
        }
    }
}

/// What stands below `mica export --help`. At most 78 columns.
const EXPORT_HELP: &str = r"Sockets are left out and named on stderr. A renamed directory or a metacopy has
its other part in a lower directory: name those with --lower, or the export
is refused with the entry named.

Examples:
  mica export up -o layer.tar.zst
  mica export 3 | tar -tv
  mica export up --lower /usr --compress gzip -o layer";

/// Make an upper directory of an OCI image layer
///
/// The archive is not trusted: nothing outside the directory is written. One that has `..` or an absolute name in it, devices,
/// something twice, or goes through a symbolic link is refused with the entry named, and what was made is removed.
/// How it is compressed is found out.
#[derive(Debug, Clone, Args)]
#[command(after_help = IMPORT_HELP)]
pub(crate) struct ImportArgs {
    /// The archive: tar, plain or compressed by gzip or zstd; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// A directory that does not exist, or an empty one
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,

    /// Whose the files are
    #[arg(long, value_name = "WHOSE", value_enum, default_value_t = OwnersOf::Real)]
    pub(crate) owners: OwnersOf,

    /// Make the devices that are in the archive, too
    #[arg(long)]
    pub(crate) devices: bool,

    /// Where marks are kept: `trusted.overlay.*`, as root's mounts have them, or `user.overlay.*` (userxattr)
    #[arg(long, value_name = "PREFIX", value_enum)]
    pub(crate) prefix: Option<Prefix>,
}

/// Whose the files of a layer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OwnersOf {
    /// Whose the archive says, which takes root
    Real,
    /// Yours; attributes that you may not set are left out
    Mine,
    /// Yours, with the owners in an attribute, for mounts with xattr_permissions=2
    Xattr,
}

impl OwnersOf {
    pub(crate) const fn owners(self) -> ImportOwners {
        match self {
            Self::Real => ImportOwners::Real,
            Self::Mine => ImportOwners::Mine,
            Self::Xattr => ImportOwners::Recorded,
        }
    }
}

/// What stands below `mica import --help`. At most 78 columns.
const IMPORT_HELP: &str = r"Examples:
  mica import layer.tar.zst up
  mica export 3 | mica import - up
  mica import layer.tar up --owners mine";

/// Write a tar archive, as runsc does
#[derive(Debug, Clone, Args)]
pub(crate) struct TarArgs {
    #[command(subcommand)]
    pub(crate) command: TarCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TarCommand {
    /// Write what was changed, as `mica export` does without compression
    RootfsUpper {
        /// The upper directory, or the name of a session
        #[arg(value_name = "UPPER|N")]
        from: OsString,

        /// Write to FILE; without it, to stdout
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}
