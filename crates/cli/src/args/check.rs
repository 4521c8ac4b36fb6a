//! The command line of `mica check`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use mica::XattrNamespace;

/// Check an upper directory and its work directory, and repair them
///
/// Looks at every object of the upper, at what is left over in the work directory and at its index, and prints what is
/// wrong: redirects that lead nowhere, marks that mean nothing, metacopies without data, whiteouts that are listed or
/// hide nothing, stale temporaries, bad index entries, marks of other programs. Symbolic links are not followed, and
/// other filesystems that are mounted inside are not entered. Directories that a mount uses are refused.
#[derive(Debug, Clone, Args)]
#[command(after_help = CHECK_HELP)]
pub(crate) struct CheckArgs {
    /// The upper directory; may be left out if the options name it
    #[arg(value_name = "DIR", required_unless_present = "options")]
    pub(crate) upper: Option<PathBuf>,

    /// The work directory of the upper
    #[arg(long, value_name = "DIR")]
    pub(crate) work: Option<PathBuf>,

    /// A lower directory that the upper was used with; repeat it for each, topmost first. With them it is also checked
    /// that redirects lead to directories, that metacopies have data and that whiteouts hide something
    #[arg(long = "lower", value_name = "DIR")]
    pub(crate) lowers: Vec<PathBuf>,

    /// A data-only lower directory, in which metacopies may have their data; repeat it for each
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Vec<PathBuf>,

    /// Take the directories from mount options, as `mica mount -o` has them
    #[arg(short = 'o', long = "options", value_name = "OPTIONS")]
    pub(crate) options: Vec<OsString>,

    /// Where the marks are kept; without it, where the first one is found
    #[arg(long, value_name = "PREFIX", value_enum)]
    pub(crate) prefix: Option<Prefix>,

    /// Repair what can be repaired without a loss, and say what was done
    #[arg(long)]
    pub(crate) repair: bool,

    /// Print one JSON object instead of lines
    #[arg(long)]
    pub(crate) json: bool,
}

/// A namespace of extended attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prefix {
    /// `trusted.overlay.*`
    Trusted,
    /// `user.overlay.*`
    User,
}

impl Prefix {
    pub(crate) const fn namespace(self) -> XattrNamespace {
        match self {
            Self::Trusted => XattrNamespace::Trusted,
            Self::User => XattrNamespace::User,
        }
    }
}

/// What stands below `mica check --help`. At most 78 columns.
const CHECK_HELP: &str = r"Output:
  A line for each finding: how bad it is, where, what it is in words. Paths
  begin at the upper; those in the work directory begin with `work:`.
  error    something is refused, or shown wrongly
  warning  something small is shown wrongly, or would be by another program
  note     unusual, without harm
  Of notes of one kind the first five are printed; --json has all.

Exit status:
  0  nothing is wrong (there may be notes), or all of it is repaired
  1  something is wrong, or nothing could be checked
  2  the command line makes no sense

Repair:
  Each repair is one step, and the merged tree is the same before and after.
  A repair that is interrupted is gone on with by running it again. Whiteouts
  that hide nothing are removed only if nothing tells that the lowers given
  are not those of this upper. Lowers are never changed.

Examples:
  mica check up
  mica check up --work up.work --lower /usr
  mica check -o lowerdir=/usr,upperdir=up,workdir=up.work --repair";
