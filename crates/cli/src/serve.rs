//! Serving a mount until it ends, and listening to signals meanwhile.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;

use mica::{Mount, MountError, MountSpec, Mountpoint, Observer, Stack, Unmounted, Unmounter};
use mica_sys::heap;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::args::MountArgs;
use crate::background;
use crate::describe::describe;
use crate::error::CliError;
use crate::log;
use crate::stats::StatsWriter;

/// Mounts what `spec` says and serves it until it is unmounted.
pub(crate) fn run(args: &MountArgs, spec: &MountSpec) -> Result<(), CliError> {
    if args.server {
        background::leave_session()?;
    }
    heap::share();
    log::start(args)?;
    let stats = Arc::new(StatsWriter::open(args)?);
    // Before there is a mount: a signal that comes while it is made must unmount it, not end its server.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])
        .map_err(|source| CliError::Signals { source })?;
    let mount = start(args, spec).map_err(|source| CliError::Mount {
        mountpoint: args.mountpoint.clone(),
        source,
    })?;
    if args.verbose {
        // Without stderr there is nobody to tell.
        let described = describe(&mount, spec);
        drop(io::stderr().lock().write_all(described.as_bytes()));
    }
    tracing::info!(mountpoint = ?args.mountpoint, "mounted");
    let (unmounter, observer) = (mount.unmounter(), mount.observer());
    if args.server
        && let Err(unheard) = background::tell_caller()
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

/// Opens the layers and mounts them.
fn start(args: &MountArgs, spec: &MountSpec) -> Result<Mount, MountError> {
    let mountpoint = Mountpoint::find(&args.mountpoint)?;
    let stack = Stack::open(&spec.stack)?;
    if args.server {
        // Before the threads of the server start: each takes the working directory along, and the one of the caller
        // must not be kept busy.
        rustix::process::chdir("/").map_err(|errno| MountError::Mountpoint {
            source: errno.into(),
        })?;
    }
    Mount::start(stack, spec, &mountpoint)
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
