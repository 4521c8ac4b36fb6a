//! The command line of `mica convert`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, ValueEnum};
use mica::Form;

use super::check::Prefix;

/// Convert an upper directory: whiteouts to another form, marks to another prefix, redirects to plain directories
///
/// The form of the upper is found out. Everything is looked at first: what the form asked for has no way to say is
/// refused before anything is touched. A conversion that was interrupted is gone on with by running the same command
/// again; until then `mica mount` refuses the directory. Directories that a mount uses are refused.
#[derive(Debug, Clone, Args)]
#[command(after_help = CONVERT_HELP)]
#[command(group = ArgGroup::new("what").args(["to", "prefix", "no_redirects"]).multiple(true).required(true))]
pub(crate) struct ConvertArgs {
    /// The upper directory
    #[arg(value_name = "UPPER")]
    pub(crate) upper: PathBuf,

    /// The form that whiteouts and opaque directories get
    #[arg(long, value_name = "FORM", value_enum)]
    pub(crate) to: Option<To>,

    /// Where marks are kept then: `trusted.overlay.*`, as root's mounts have them, or `user.overlay.*` (userxattr)
    #[arg(long, value_name = "PREFIX", value_enum)]
    pub(crate) prefix: Option<Prefix>,

    /// Copy what redirects and metacopies lead to into the upper, so that it has none
    #[arg(long, requires = "lowers")]
    pub(crate) no_redirects: bool,

    /// A lower directory that the upper was used with; repeat it for each, topmost first. Lowers are only read
    #[arg(long = "lower", value_name = "DIR")]
    pub(crate) lowers: Vec<PathBuf>,

    /// A data-only lower directory, in which metacopies may have their data; repeat it for each
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Vec<PathBuf>,

    /// Leave the upper as it is, and make a converted copy of it in the new directory DIR
    #[arg(short = 'o', long, value_name = "DIR")]
    pub(crate) output: Option<PathBuf>,

    /// The work directory of the upper, to keep the journal in; without it, the journal lies beside the upper
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,

    /// Print one JSON object instead of a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// A form of whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    Device,
    Xattr,
    Wh,
    Old,
}

impl To {
    pub(crate) const fn form(self) -> Form {
        match self {
            Self::Device => Form::Device,
            Self::Xattr => Form::Xattr,
            Self::Wh => Form::Named,
            Self::Old => Form::Old,
        }
    }
}

/// What stands below `mica convert --help`. At most 78 columns.
const CONVERT_HELP: &str = r"Forms:
  device  character devices 0:0, opaque=y: what mounts write
  xattr   empty files with the attribute whiteout, opaque=x on their
          directories: for lowers on filesystems without devices
  wh      files called .wh.NAME and .wh..wh..opq: OCI layers, aufs
  old     attributes whiteout.NAME of the directory

Exit status:
  0  converted, or there was nothing to do
  1  refused, or failed; the message says which, and what was touched
  2  the command line makes no sense

Examples:
  mica convert up --to wh -o layer
  mica convert layer --to device
  mica convert up --prefix user --work up.work
  mica convert up --no-redirects --lower /usr";
