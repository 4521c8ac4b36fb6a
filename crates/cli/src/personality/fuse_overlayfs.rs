//! The command line of fuse-overlayfs: `fuse-overlayfs [-f] [-d] [-o OPTIONS] MOUNTPOINT`.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use mica::Manner;

use super::Asked;
use crate::args::MountArgs;
use crate::error::CliError;

/// The release of fuse-overlayfs whose command line this is: programs that run it ask.
const COMPATIBLE: &str = "1.16";

const HELP: &str = "\
usage: fuse-overlayfs [options] <mountpoint>

    -o OPT[,OPT...]   mount options; `mica mount --help` lists them
    -f                stay in the foreground
    -d, --debug       the same, and log what is done
    -h, --help        print this
    -V, --version     print the version

An option that is unknown is said to be so, and ignored.
";

const USAGE: &str = "run `fuse-overlayfs -o lowerdir=DIR,upperdir=DIR,workdir=DIR MOUNTPOINT`";

/// Reads the words after the name of the program.
pub(super) fn read(words: Vec<OsString>) -> Result<Asked, CliError> {
    let mut args = MountArgs::new(PathBuf::new(), Vec::new(), Manner::FuseOverlayfs);
    let mut mountpoint = None;
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"-h" | b"--help" => return Ok(Asked::Text(HELP.into())),
            b"-V" | b"--version" => return Ok(Asked::Text(version())),
            b"-f" => args.foreground = true,
            b"-d" | b"--debug" => args.debug = true,
            b"-o" => args.options.push(words.next().ok_or_else(no_argument)?),
            b"--" => mountpoint = words.by_ref().last().or(mountpoint),
            [b'-', b'o', joined @ ..] => args.options.push(OsString::from_vec(joined.to_vec())),
            [b'-', _, ..] => ignore(&word),
            // The last one counts.
            _ => mountpoint = Some(word),
        }
    }
    let mountpoint = mountpoint.ok_or_else(|| CliError::Usage {
        message: "no mountpoint specified".into(),
        hint: USAGE,
    })?;
    args.mountpoint = mountpoint.into();
    Ok(Asked::Mount(Box::new(args)))
}

fn no_argument() -> CliError {
    CliError::Usage {
        message: "missing argument after `-o`".into(),
        hint: USAGE,
    }
}

fn ignore(word: &OsStr) {
    // Without stderr there is nobody to tell.
    drop(writeln!(
        io::stderr(),
        "unknown argument ignored: {}",
        word.display()
    ));
}

/// The first line is what engines look for; the others say what this is in truth.
fn version() -> String {
    let protocol = mica::PROTOCOL;
    format!(
        "fuse-overlayfs: version {COMPATIBLE}\nmica {}\nusing FUSE kernel interface version {protocol}\n",
        env!("CARGO_PKG_VERSION")
    )
}
