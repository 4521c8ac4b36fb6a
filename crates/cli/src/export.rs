//! `mica export` and `mica tar`

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use mica::{Compression, DoError, ExportError, ExportSpec, Session, export};

use crate::args::{Compress, ExportArgs, TarArgs, TarCommand};
use crate::error::CliError;
use crate::left_out::LeftOutLines;
use crate::progress::Progress;
use crate::sessions::store;

pub(crate) fn run(args: &ExportArgs) -> Result<(), CliError> {
    let (upper, session) = find(&args.from)?;
    let output = args.output.as_deref();
    let by_name = || output.map_or(Compression::None, Compression::of_name);
    let spec = ExportSpec {
        upper,
        lowers: args.lowers.clone(),
        data: args.data.clone(),
        compression: args.compress.map_or_else(by_name, Compress::compression),
    };
    write(&spec, session.as_ref(), output)
}

pub(crate) fn tar(args: &TarArgs) -> Result<(), CliError> {
    let TarCommand::RootfsUpper { from, file } = &args.command;
    let (upper, session) = find(from)?;
    let spec = ExportSpec {
        upper,
        ..ExportSpec::default()
    };
    write(&spec, session.as_ref(), file.as_deref())
}

/// Finds the session of that name, or the directory.
fn find(from: &OsStr) -> Result<(PathBuf, Option<Session>), CliError> {
    let opened = if from.as_bytes().contains(&b'/') {
        None
    } else {
        Some(store().and_then(|store| Ok(store.open(from)?)))
    };
    match opened {
        None => Ok((from.into(), None)),
        Some(Ok(session)) => Ok((session.upper(), Some(session))),
        // There is none, or none of this user's.
        Some(Err(error)) if !is_running(&error) && Path::new(from).exists() => {
            Ok((from.into(), None))
        }
        Some(Err(error)) => Err(error),
    }
}

fn is_running(error: &CliError) -> bool {
    matches!(error, CliError::Session(DoError::Running { .. }))
}

fn write(
    spec: &ExportSpec,
    session: Option<&Session>,
    output: Option<&Path>,
) -> Result<(), CliError> {
    let Some(output) = output else {
        let stdout = io::stdout();
        if stdout.is_terminal() {
            return Err(CliError::Usage {
                message: "an archive is nothing for a terminal".into(),
                hint: "name a file with `-o FILE`, or pipe it: `mica export N | tar -tv`",
            });
        }
        return match export_to(spec, session, &mut stdout.lock()) {
            // A reader that has seen enough is no failure.
            Err(CliError::Export {
                source: ExportError::Write(error),
                ..
            }) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        };
    };
    if fs::metadata(output).is_ok_and(|found| !found.is_file()) {
        // A device or a pipe.
        let mut file = File::options()
            .write(true)
            .open(output)
            .map_err(not_written(output))?;
        return export_to(spec, session, &mut file);
    }
    refuse_inside(&spec.upper, output)?;
    let (part, file) = beside(output)?;
    let mut out = BufWriter::new(file);
    let done = export_to(spec, session, &mut out).and_then(|()| {
        let finished = out.into_inner().map_err(io::IntoInnerError::into_error);
        finished
            .and_then(|file| file.sync_data())
            .and_then(|()| fs::rename(&part, output))
            .map_err(not_written(output))
    });
    if done.is_err() {
        // The error before counts.
        drop(fs::remove_file(&part));
    }
    done
}

fn not_written(path: &Path) -> impl FnOnce(io::Error) -> CliError {
    move |source| CliError::OpenFile {
        path: path.to_owned(),
        source,
    }
}

/// Makes the file that becomes `output` when all is in it.
fn beside(output: &Path) -> Result<(PathBuf, File), CliError> {
    let mut name = OsString::from(".");
    name.push(output.file_name().unwrap_or_default());
    name.push(format!(".mica-export.{}", std::process::id()));
    let part = output.with_file_name(name);
    let file = File::options().write(true).create_new(true).open(&part);
    Ok((part, file.map_err(not_written(output))?))
}

/// Refuses to write into what is exported.
fn refuse_inside(upper: &Path, output: &Path) -> Result<(), CliError> {
    let dir = match output.parent() {
        Some(dir) if dir != Path::new("") => dir,
        _ => Path::new("."),
    };
    match (upper.canonicalize(), dir.canonicalize()) {
        (Ok(upper), Ok(dir)) if dir.starts_with(&upper) => Err(CliError::Usage {
            message: "the archive would be in the upper that it is of".into(),
            hint: "name a file elsewhere with `-o FILE`",
        }),
        _ => Ok(()),
    }
}

fn export_to(
    spec: &ExportSpec,
    session: Option<&Session>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    let progress = Progress::interruptible("exporting")?;
    let mut left_out = LeftOutLines::default();
    let done = export(
        spec,
        session,
        out,
        &mut |entries| progress.at(entries),
        &mut |note| left_out.say(&note),
    );
    progress.finish();
    left_out.finish();
    match done {
        Ok(_) => Ok(()),
        Err(source) => Err(CliError::Export {
            upper: spec.upper.clone(),
            source,
        }),
    }
}
