//! `mica doctor`

use std::error::Error;
use std::iter;
use std::process::ExitCode;

use mica::doctor::{Diagnosis, Driver, Finding, Reaction, Verdict};
use serde_json::{Value, json};

use crate::args::DoctorArgs;
use crate::cause::Cause;
use crate::error::in_words;
use crate::print::print;

/// Both drivers, and the command that mounts with each.
const DRIVERS: [(Driver, &str, &str); 2] = [
    (Driver::Kernel, "kernel", "mount -t overlay"),
    (Driver::Mica, "mica", "mica mount"),
];

pub(crate) fn run(args: &DoctorArgs) -> ExitCode {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let diagnosis = Diagnosis::make(&args.options, &path);
    let text = if args.json {
        format!("{:#}\n", as_json(&diagnosis))
    } else {
        as_text(&diagnosis)
    };
    print(&text);
    let works =
        |(driver, ..): &(Driver, &str, &str)| diagnosis.verdict(*driver) != Verdict::Refuses;
    if DRIVERS.iter().any(works) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Writes a block of what was looked at, then one for each driver.
fn as_text(diagnosis: &Diagnosis) -> String {
    let width = diagnosis.seen.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    let mut text = String::from("looked at:\n");
    for (name, found) in &diagnosis.seen {
        text.push_str(&format!("  {name:width$}  {found}\n"));
    }
    for (driver, name, command) in DRIVERS {
        let verdict = in_text(diagnosis.verdict(driver));
        text.push_str(&format!("\n{name} (`{command}`): {verdict}\n"));
        for (n, finding) in diagnosis.findings(driver).iter().enumerate() {
            let effect = effect(finding, driver);
            let causes = causes(finding).join(": ");
            text.push_str(&format!("  {}: {causes}{effect}\n", n + 1));
            if let Some(hint) = &finding.hint {
                text.push_str(&format!("     hint: {hint}\n"));
            }
        }
    }
    text
}

const fn in_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Works => "works",
        Verdict::WorksWithLess => "works with less",
        Verdict::Refuses => "refuses",
    }
}

/// Says what the kernel answers, as it gives no reason itself.
fn effect(finding: &Finding, driver: Driver) -> String {
    match (driver, finding.row.kernel) {
        (Driver::Kernel, Reaction::Refuses(errno)) => format!(" ({})", Cause(errno).name()),
        _ => String::new(),
    }
}

/// Returns what was found and why, each in words.
fn causes(finding: &Finding) -> Vec<String> {
    let error: &(dyn Error + 'static) = &*finding.error;
    iter::successors(Some(error), |&error| error.source())
        .map(in_words)
        .collect()
}

fn as_json(diagnosis: &Diagnosis) -> Value {
    let seen = diagnosis.seen.iter();
    let seen = seen.map(|(name, found)| json!({ "what": name, "found": found }));
    let drivers = DRIVERS.iter().map(|(driver, name, command)| {
        let findings = diagnosis.findings(*driver).iter();
        json!({
            "driver": name,
            "command": command,
            "verdict": in_json(diagnosis.verdict(*driver)),
            "findings": findings.map(|finding| finding_as_json(finding, *driver)).collect::<Vec<_>>(),
        })
    });
    json!({ "looked_at": seen.collect::<Vec<_>>(), "drivers": drivers.collect::<Vec<_>>() })
}

fn finding_as_json(finding: &Finding, driver: Driver) -> Value {
    let (errno, log) = match (driver, finding.row.kernel) {
        (Driver::Kernel, Reaction::Refuses(errno) | Reaction::Fails(errno)) => {
            (Some(Cause(errno).name()), Some(finding.row.log))
        }
        (Driver::Kernel, _) => (None, Some(finding.row.log)),
        (Driver::Mica, _) => (None, None),
    };
    json!({
        "case": finding.row.id,
        "verdict": in_json(finding.verdict),
        "causes": causes(finding),
        "hint": finding.hint,
        "errno": errno,
        "kernel_log": log.filter(|log| !log.is_empty()),
    })
}

const fn in_json(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Works => "works",
        Verdict::WorksWithLess => "works-with-less",
        Verdict::Refuses => "refuses",
    }
}
