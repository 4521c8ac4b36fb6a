//! `mica check`

mod json;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use mica::{CheckSpec, Manner, Request, check};

use crate::args::CheckArgs;
use crate::error::{self, CliError};
use crate::print::print;
use crate::progress::Progress;

/// Exit status of a check that found something.
const FOUND: u8 = 1;

pub(crate) fn run(args: &CheckArgs) -> ExitCode {
    match checked(args) {
        Ok(status) => status,
        failed => error::status(failed.map(drop), Manner::Mica),
    }
}

fn checked(args: &CheckArgs) -> Result<ExitCode, CliError> {
    let spec = spec(args)?;
    let progress = Progress::counting("checking");
    let checked = check(&spec, &mut |objects| {
        // It changes nothing, and so a signal ends it at once.
        let _goes_on = progress.at(objects);
    });
    progress.finish();
    let checked = checked.map_err(|source| CliError::Check {
        upper: spec.upper.clone(),
        source,
    })?;
    let shown = if args.json {
        json::show(&spec, &checked)
    } else {
        text::show(&spec, &checked)
    };
    print(&shown);
    Ok(if checked.is_clean() && checked.failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FOUND)
    })
}

/// Puts together what the options and the other arguments say; the latter count more.
fn spec(args: &CheckArgs) -> Result<CheckSpec, CliError> {
    let mut spec = CheckSpec {
        repair: args.repair,
        ..CheckSpec::default()
    };
    if !args.options.is_empty() {
        let Request::Mount(mount) = Request::parse(&args.options, Manner::Mica)? else {
            return Err(usage("`remount` has no directories to check"));
        };
        let stack = mount.stack;
        spec.xattrs = Some(stack.xattrs);
        spec.lowers = stack.lower;
        spec.data = stack.data;
        if let Some(upper) = stack.upper {
            spec.upper = upper.dir;
            spec.work = Some(upper.work);
        }
    }
    if let Some(upper) = &args.upper {
        spec.upper.clone_from(upper);
    }
    if let Some(work) = &args.work {
        spec.work = Some(work.clone());
    }
    if !args.lowers.is_empty() {
        spec.lowers.clone_from(&args.lowers);
    }
    if !args.data.is_empty() {
        spec.data.clone_from(&args.data);
    }
    if let Some(prefix) = args.prefix {
        spec.xattrs = Some(prefix.namespace());
    }
    if spec.upper == PathBuf::new() {
        return Err(usage("the options name no `upperdir`"));
    }
    Ok(spec)
}

fn usage(message: &str) -> CliError {
    CliError::Usage {
        message: message.into(),
        hint: "name the upper directory: `mica check DIR`",
    }
}
