//! Serving a mount until it ends, and listening to signals meanwhile.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;

use mica::{
    Attached, AutoUnmount, Cage, Escaped, Mount, MountError, MountFlags, MountSpec, Mountpoint,
    Observer, Recovered, Stack, StackSpec, Unmounted, Unmounter,
};
use mica_sys::heap;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::args::MountArgs;
use crate::background::{self, Caller};
use crate::describe::describe;
use crate::error::CliError;
use crate::log;
use crate::stats::StatsWriter;
use crate::unmount_helper;
use crate::warning;

/// Mounts what `spec` says and serves it until it is unmounted.
pub(crate) fn run(args: &MountArgs, spec: &MountSpec) -> Result<(), CliError> {
    let caller = if args.server {
        background::leave_session()?;
        Some(Caller::find()?)
    } else {
        None
    };
    heap::share();
    log::start(args)?;
    for note in &spec.notes {
        tracing::info!("option {note}");
    }
    let stats = Arc::new(StatsWriter::open(args)?);
    // Before there is a mount: a signal that comes while it is made must unmount it, not end its server.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|source| CliError::Signals { source })?;
    let (mount, cage) = start(args, spec).map_err(|source| CliError::Mount {
        mountpoint: args.mountpoint.clone(),
        source,
    })?;
    warning::say(mount.stack().warnings());
    if args.verbose {
        // Without stderr there is nobody to tell.
        let described = describe(&mount, spec, cage.as_ref());
        drop(io::stderr().lock().write_all(described.as_bytes()));
    }
    tracing::info!(mountpoint = ?args.mountpoint, "mounted");
    let (unmounter, observer) = (mount.unmounter(), mount.observer());
    if let Some(caller) = caller
        && let Err(unheard) = caller.tell()
    {
        // The caller is gone: a mount that nobody waits for is nobody's.
        end(&unmounter);
        return Err(unheard);
    }
    listen(signals, unmounter, observer.clone(), Arc::clone(&stats))?;
    let ended = mount.join();
    tracing::info!("unmounted");
    if args.stats.is_some() {
        stats.write(&observer.stats());
    }
    ended.map_err(|source| CliError::Serve {
        mountpoint: args.mountpoint.clone(),
        source,
    })
}

/// Opens the layers, mounts them, and serves them from within the cage.
fn start(args: &MountArgs, spec: &MountSpec) -> Result<(Mount, Option<Cage>), MountError> {
    let mountpoint = Mountpoint::find(&args.mountpoint)?;
    let stack = Stack::open(&spec.stack)?;
    if let Some(recovered) = stack.recovered() {
        tell_recovered(args, recovered);
    }
    if args.server {
        // The directory of the caller must not be kept busy.
        rustix::process::chdir("/").map_err(|errno| MountError::Mountpoint {
            source: errno.into(),
        })?;
    }
    let confined = !args.no_sandbox && !spec.flags.contains(MountFlags::NO_SANDBOX);
    let auto = if spec.flags.contains(MountFlags::AUTO_UNMOUNT) {
        AutoUnmount::Yes
    } else {
        AutoUnmount::No
    };
    if !confined && auto == AutoUnmount::No {
        return Mount::start(stack, spec, &mountpoint).map(|mount| (mount, None));
    }
    let helper = unmount_helper::start(mountpoint.path(), auto)
        .map_err(|source| MountError::Helper { source })?;
    let attached = Mount::attach(stack, spec, &mountpoint)?.unmounted_by(Arc::new(helper));
    let unmounter = attached.unmounter();
    let served = if confined {
        confine(attached, &spec.stack)
    } else {
        attached.serve().map(|mount| (mount, None))
    };
    served.map_err(|error| match unmounter.unmount() {
        Ok(_) => error,
        Err(source) => MountError::Left { source },
    })
}

/// Serves a mount from within the cage.
fn confine(attached: Attached, stack: &StackSpec) -> Result<(Mount, Option<Cage>), MountError> {
    match mica::enter_cage(stack) {
        Ok(cage) => attached.serve().map(|mount| (mount, Some(cage))),
        Err(error) => {
            attached.abandon();
            Err(error.into())
        }
    }
}

/// Says that a mount before ended without unmounting: whoever started it may want to know.
fn tell_recovered(args: &MountArgs, recovered: &Recovered) {
    let (work, objects) = (Escaped::new(&recovered.work), recovered.objects);
    let plural = if objects == 1 { "" } else { "s" };
    let text = format!(
        "recovered {work}: removed {objects} unfinished object{plural} of a mount that ended without unmounting"
    );
    // Without stderr there is nobody to tell.
    drop(writeln!(io::stderr().lock(), "mica: {text}"));
    if args.log.is_some() {
        tracing::warn!("{text}");
    }
}

/// Handles signals on a thread of its own, for as long as the process lives.
fn listen(
    mut signals: Signals,
    unmounter: Unmounter,
    observer: Observer,
    stats: Arc<StatsWriter>,
) -> Result<(), CliError> {
    let thread = thread::Builder::new().name("mica-signals".into());
    let started = thread.spawn(move || {
        let mut asked = false;
        for signal in signals.forever() {
            match signal {
                SIGUSR1 => stats.write(&observer.stats()),
                _ if asked => {
                    // The kernel's default: this process ends by the signal, here and at once.
                    if let Err(error) = emulate_default_handler(signal) {
                        tracing::error!(%error, signal, "the signal has no effect");
                    }
                }
                _ => {
                    asked = true;
                    end(&unmounter);
                }
            }
        }
    });
    match started {
        Ok(_detached) => Ok(()),
        Err(source) => Err(CliError::Signals { source }),
    }
}

/// Unmounts; whoever still uses the mount is served to the end.
fn end(unmounter: &Unmounter) {
    match unmounter.unmount() {
        Ok(Unmounted::Gone | Unmounted::Before) => {}
        Ok(Unmounted::Detached) => {
            tracing::info!("the mount is in use; detached, and served until its last user is gone");
        }
        Err(error) => tracing::error!(%error, "cannot unmount"),
    }
}
