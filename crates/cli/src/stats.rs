//! Statistics of a mount, as text: one `name value` pair on a line.

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

    fn to_text(&self, stats: &Stats) -> String {
        let overlay = &stats.overlay;
        let mut lines = vec![
            (
                "uptime_seconds".to_owned(),
                self.started.elapsed().as_secs(),
            ),
            ("errors".into(), stats.errors),
            ("panics".into(), stats.panics),
            ("references".into(), stats.references),
            ("nodes".into(), overlay.nodes as u64),
            ("linked".into(), overlay.linked as u64),
            ("fds".into(), stats.fds as u64),
            ("bytes_read".into(), stats.bytes_read),
            ("bytes_written".into(), stats.bytes_written),
            ("listings".into(), overlay.listings),
            ("whiteouts".into(), overlay.whiteouts),
            ("copy_ups".into(), overlay.copy_ups),
            ("copied_bytes".into(), overlay.copied_bytes),
        ];
        let operations = stats.operations.iter();
        lines.splice(
            1..1,
            operations.map(|(name, count)| (operation(name), *count)),
        );
        lines
            .iter()
            .map(|(name, value)| format!("{name} {value}\n"))
            .collect()
    }
}

/// Returns the name of the line that counts an operation.
fn operation(name: &str) -> String {
    format!("operation.{}", name.to_ascii_lowercase())
}
