//! `mica import`

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use mica::{DevicePolicy, ImportSpec, import};

use crate::args::{ImportArgs, OwnersOf, Prefix};
use crate::error::CliError;
use crate::left_out::LeftOutLines;
use crate::print::print;
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
    let progress = Progress::interruptible("importing")?;
    let mut left_out = LeftOutLines::default();
    let done = import(
        &spec,
        &mut source,
        &mut |entries| progress.at(entries),
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
    print(&line);
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
