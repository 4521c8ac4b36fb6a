//! Statistics of a mount, as text: one `name value` pair on a line.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::time::Instant;

use mica::Stats;

use crate::args::MountArgs;
use crate::error::CliError;
use crate::log;

/// Where statistics go.
#[derive(Debug)]
pub(crate) struct StatsWriter {
    place: Place,
    started: Instant,
}

#[derive(Debug)]
enum Place {
    /// `--stats=FILE`, else `--log FILE`
    File(File),
    Stderr,
    /// In the background without a log: SIGUSR1 has nothing to write to.
    Nowhere,
}

impl StatsWriter {
    /// Chooses the place that `args` ask for: the file of `--stats`, else that of `--log`, else stderr with `-f`.
    pub(crate) fn open(args: &MountArgs) -> Result<Self, CliError> {
        let place = match (&args.stats, &args.log) {
            (Some(Some(file)), _) | (_, Some(file)) => Place::File(log::append(file)?),
            _ if args.foreground => Place::Stderr,
            _ => Place::Nowhere,
        };
        Ok(Self {
            place,
            started: Instant::now(),
        })
    }

    /// Writes a snapshot. A full disk must not end the server: what cannot be written is left out.
    pub(crate) fn write(&self, stats: &Stats) {
        let text = self.to_text(stats);
        let written = match &self.place {
            Place::File(file) => (&*file).write_all(text.as_bytes()),
            Place::Stderr => io::stderr().lock().write_all(text.as_bytes()),
            Place::Nowhere => Ok(()),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "statistics were not written");
        }
    }
}
