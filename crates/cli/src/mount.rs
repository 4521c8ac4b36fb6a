//! `mica mount`

use std::io::{self, Write as _};

use mica::{Manner, MountFlags, MountSpec, Note, Remount, Request, Stack, XattrNamespace};

use crate::args::{Level, MountArgs};
use crate::background;
use crate::error::CliError;
use crate::serve;

pub(crate) fn run(args: &MountArgs) -> Result<(), CliError> {
    let mut spec = match Request::parse(&args.options, args.manner)? {
        Request::Mount(spec) => *spec,
        Request::Remount(change) => return remount(args, &change),
    };
    complete(&mut spec, args.manner);
    if args.server || args.foreground {
        return serve::run(args, &spec);
    }
    say_ignored(&spec.notes, args.manner);
    if args.debug || spec.flags.contains(MountFlags::DEBUG) {
        let args = MountArgs {
            foreground: true,
            log_level: args.log_level.max(Level::Debug),
            ..args.clone()
        };
        return serve::run(&args, &spec);
    }
    if args.stats == Some(None) && args.log.is_none() {
        return Err(CliError::NowhereForStats);
    }
    background::start(args)
}

/// Adds what the options leave to the privileges of the caller: fuse-overlayfs has no `userxattr`, and takes what it
/// can get.
fn complete(spec: &mut MountSpec, manner: Manner) {
    if manner == Manner::FuseOverlayfs && !Stack::may_use_trusted() {
        spec.stack.xattrs = XattrNamespace::User;
    }
}

/// Says which options are passed over, in the words of fuse-overlayfs.
fn say_ignored(notes: &[Note], manner: Manner) {
    if manner != Manner::FuseOverlayfs {
        return;
    }
    let mut stderr = io::stderr().lock();
    for option in notes.iter().filter_map(Note::ignored) {
        // Without stderr there is nobody to tell.
        drop(writeln!(
            stderr,
            "unknown argument ignored: {}",
            option.display()
        ));
    }
}

fn remount(args: &MountArgs, change: &Remount) -> Result<(), CliError> {
    mica::remount(change, &args.mountpoint).map_err(|source| CliError::Remount {
        mountpoint: args.mountpoint.clone(),
        source,
    })?;
    if args.verbose {
        let mut stderr = io::stderr().lock();
        for note in &change.notes {
            drop(writeln!(stderr, "option {note}"));
        }
    }
    Ok(())
}
