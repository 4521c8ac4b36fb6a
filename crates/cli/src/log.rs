//! Where log messages go.

use std::fs::File;
use std::io;
use std::panic;
use std::path::Path;
use std::sync::Mutex;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::args::MountArgs;
use crate::error::CliError;

/// Sends log messages to the file that `args` name, or to stderr in the foreground. In the background without a
/// file there is nobody to read them.
pub(crate) fn start(args: &MountArgs) -> Result<(), CliError> {
    let writer = match &args.log {
        Some(path) => BoxMakeWriter::new(Mutex::new(append(path)?)),
        None if args.foreground => BoxMakeWriter::new(io::stderr),
        None => return Ok(()),
    };
    begin(args.log_level.filter(), writer);
    Ok(())
}

/// Sends warnings to stderr, whatever that is at the time.
pub(crate) fn warnings_to_stderr() {
    begin(LevelFilter::WARN, BoxMakeWriter::new(io::stderr));
}

fn begin(level: LevelFilter, writer: BoxMakeWriter) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(writer)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        // A request that panics is answered with EIO; its message must not get lost with stderr.
        panic::set_hook(Box::new(|info| tracing::error!("{info}")));
    }
}

/// Opens a file to append to.
pub(crate) fn append(path: &Path) -> Result<File, CliError> {
    let file = File::options().append(true).create(true).open(path);
    file.map_err(|source| CliError::OpenFile {
        path: path.to_owned(),
        source,
    })
}
