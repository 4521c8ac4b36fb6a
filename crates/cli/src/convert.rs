//! `mica convert`

use mica::{ConvertSpec, Converted, convert};
use serde_json::json;

use crate::args::{ConvertArgs, Prefix, To};
use crate::error::CliError;
use crate::print::print;
use crate::progress::Progress;

pub(crate) fn run(args: &ConvertArgs) -> Result<(), CliError> {
    let spec = ConvertSpec {
        upper: args.upper.clone(),
        work: args.work.clone(),
        lowers: args.lowers.clone(),
        data: args.data.clone(),
        to: args.to.map(To::form),
        prefix: args.prefix.map(Prefix::namespace),
        no_redirects: args.no_redirects,
        output: args.output.clone(),
    };
    let progress = Progress::interruptible("converting")?;
    let converted = convert(&spec, &mut |steps| progress.at(steps));
    progress.finish();
    let converted = converted.map_err(|source| CliError::Convert {
        upper: spec.upper.clone(),
        source,
    })?;
    let shown = if args.json {
        as_json(&converted)
    } else {
        as_text(&converted)
    };
    print(&shown);
    Ok(())
}

fn as_text(converted: &Converted) -> String {
    if converted.steps == 0 {
        return "nothing to do\n".into();
    }
    let again = if converted.resumed {
        ", gone on with after an interruption"
    } else {
        ""
    };
    let found: Vec<&str> = converted.found.iter().map(|form| form.name()).collect();
    let found = match found.as_slice() {
        [] => String::new(),
        forms => format!("; found whiteouts of the form {}", forms.join(", ")),
    };
    let steps = converted.steps;
    let s = if steps == 1 { "" } else { "s" };
    format!("converted in {steps} step{s}{again}{found}\n")
}

fn as_json(converted: &Converted) -> String {
    let found: Vec<&str> = converted.found.iter().map(|form| form.name()).collect();
    let all = json!({
        "steps": converted.steps,
        "resumed": converted.resumed,
        "found": found,
    });
    format!("{all}\n")
}
