//! The command line of a helper of mount(8): `mount.fuse.mica SOURCE DIR [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;
use std::vec::IntoIter;

use mica::Manner;
use rustix::thread::LinkNameSpaceType;

use super::Asked;
use crate::args::MountArgs;
use crate::error::CliError;

const HELP: &str = "\
usage: mount.fuse.mica SOURCE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS]
                       [-t TYPE]

    -o OPTIONS     mount options; `mica mount --help` lists them
    -s             ignore unknown options
    -f             check options and mountpoint, and mount nothing
    -n             accepted; there is no mtab to write
    -v             say on stderr what was chosen
    -N NAMESPACE   mount in this mount namespace: a process ID, or a file
    -t TYPE        the type to show: fuse.NAME

mount(8) runs it for `mount -t fuse.mica`. SOURCE is what /proc/mounts shows.
";

const USAGE: &str =
    "run `mount -t fuse.mica -o lowerdir=DIR,upperdir=DIR,workdir=DIR SOURCE MOUNTPOINT`";

/// What was read so far.
#[derive(Debug, Default)]
struct Line {
    plain: Vec<OsString>,
    options: Vec<OsString>,
    namespace: Option<OsString>,
    kind: Option<OsString>,
    sloppy: bool,
    fake: bool,
    verbose: bool,
}

/// Reads the words after the name of the program. Enters the mount namespace that they name.
pub(super) fn read(words: Vec<OsString>) -> Result<Asked, CliError> {
    if let [word] = words.as_slice()
        && (word == "-h" || word == "--help")
    {
        return Ok(Asked::Text(HELP.into()));
    }
    let mut line = Line::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        match word.as_bytes() {
            b"--" => line.plain.extend(words.by_ref()),
            [b'-', letters @ ..] if !letters.is_empty() => line.letters(letters, &mut words)?,
            _ => line.plain.push(word),
        }
    }
    line.finish()
}

impl Line {
    /// Reads the letters after one dash; the argument of the last may be joined to it.
    fn letters(&mut self, letters: &[u8], words: &mut IntoIter<OsString>) -> Result<(), CliError> {
        let mut letters = letters.iter();
        while let Some(&letter) = letters.next() {
            match letter {
                b's' => self.sloppy = true,
                b'f' => self.fake = true,
                b'v' => self.verbose = true,
                b'n' => {}
                b'o' | b'N' | b't' => {
                    let rest = letters.as_slice();
                    let argument = match rest {
                        [] => words.next().ok_or_else(|| no_argument(letter))?,
                        _ => OsString::from_vec(rest.to_vec()),
                    };
                    match letter {
                        b'o' => self.options.push(argument),
                        b'N' => self.namespace = Some(argument),
                        _ => self.kind = Some(argument),
                    }
                    return Ok(());
                }
                _ => {
                    return Err(CliError::Usage {
                        message: format!("unknown flag `-{}`", letter.escape_ascii()),
                        hint: USAGE,
                    });
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Asked, CliError> {
        let Ok([source, mountpoint]) = <[OsString; 2]>::try_from(self.plain) else {
            return Err(CliError::Usage {
                message: "a source and a mountpoint are needed".into(),
                hint: USAGE,
            });
        };
        // First, so that an option counts more.
        let mut options = Vec::new();
        if !source.is_empty() && source != "none" {
            options.push(assigned("fsname", &source));
        }
        if let Some(subtype) = self.kind.as_deref().and_then(subtype) {
            options.push(assigned("subtype", &subtype));
        }
        options.extend(self.options);
        if let Some(namespace) = &self.namespace {
            enter(namespace)?;
        }
        let manner = if self.sloppy {
            Manner::SloppyMount
        } else {
            Manner::Mount
        };
        let mut args = MountArgs::new(mountpoint.into(), options, manner);
        args.verbose = self.verbose;
        let args = Box::new(args);
        Ok(if self.fake {
            Asked::Check(args)
        } else {
            Asked::Mount(args)
        })
    }
}

fn no_argument(letter: u8) -> CliError {
    CliError::Usage {
        message: format!("missing argument after `-{}`", letter.escape_ascii()),
        hint: USAGE,
    }
}

/// Returns the part of a type after `fuse.`.
fn subtype(kind: &OsStr) -> Option<OsString> {
    let name = kind.as_bytes().strip_prefix(b"fuse.")?;
    Some(OsStr::from_bytes(name).to_owned())
}

/// Writes an option whose value is taken as it is.
fn assigned(name: &str, value: &OsStr) -> OsString {
    let mut option = format!("{name}=").into_bytes();
    for &byte in value.as_bytes() {
        if matches!(byte, b'\\' | b',') {
            option.push(b'\\');
        }
        option.push(byte);
    }
    OsString::from_vec(option)
}

/// Enters a mount namespace, given as mount(8) gives it. Relative paths start at its root from then on.
fn enter(namespace: &OsStr) -> Result<(), CliError> {
    let is_number = namespace.as_bytes().iter().all(u8::is_ascii_digit);
    let path = if is_number {
        PathBuf::from("/proc").join(namespace).join("ns/mnt")
    } else {
        PathBuf::from(namespace)
    };
    let entered = File::open(&path).and_then(|file| {
        let kind = Some(LinkNameSpaceType::Mount);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind).map_err(io::Error::from)
    });
    entered.map_err(|source| CliError::Namespace { path, source })
}
