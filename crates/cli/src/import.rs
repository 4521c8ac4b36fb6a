//! `mica import`

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::Path;

use mica::{DevicePolicy, ImportSpec, import};

use crate::args::{ImportArgs, OwnersOf, Prefix};
use crate::error::CliError;
use crate::export::{go_on, stop_on_signals};
use crate::left_out::LeftOutLines;
use crate::progress::Progress;

pub(crate) fn run(args: &ImportArgs) -> Result<(), CliError> {
    let spec = ImportSpec {
        dir: args.upper.clone(),
        owners: OwnersOf::owners(args.owners),
        devices: if args.devices {
            DevicePolicy::Make
        } else {
            DevicePolicy::Refuse
        },
        prefix: args.prefix.map(Prefix::namespace),
    };
    let mut source = open(&args.file)?;
    let stop = stop_on_signals()?;
    let progress = Progress::counting("importing");
    let mut left_out = LeftOutLines::default();
    let done = import(
        &spec,
        &mut source,
        &mut |entries| go_on(&progress, &stop, entries),
        &mut |note| left_out.say(&note),
    );
    progress.finish();
    left_out.finish();
    let imported = done.map_err(|source| CliError::Import {
        dir: spec.dir.clone(),
        source,
    })?;
    let line = match imported.entries {
        1 => "imported 1 entry\n".to_owned(),
        entries => format!("imported {entries} entries\n"),
    };
    // A reader that has seen enough is no failure.
    drop(io::stdout().lock().write_all(line.as_bytes()));
    Ok(())
}

fn open(file: &Path) -> Result<Box<dyn Read>, CliError> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    match File::open(file) {
        Ok(file) => Ok(Box::new(file)),
        Err(source) => Err(CliError::Open {
            path: file.to_owned(),
            source,
        }),
    }
}
