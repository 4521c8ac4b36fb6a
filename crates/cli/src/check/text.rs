//! What a check found, as lines.

use std::collections::BTreeMap;

use mica::{Area, CheckSpec, Checked, Escaped, Finding, Severity};

use crate::cause::Cause;

/// How many notes of one kind are printed.
const NOTES_MAX: usize = 5;

/// Shows what was done, what is wrong, and a line that sums it up.
pub(super) fn show(spec: &CheckSpec, checked: &Checked) -> String {
    let mut lines = Vec::new();
    for finding in &checked.repaired {
        if let Some(fix) = &finding.fix {
            let place = place(finding);
            lines.push(format!(
                "repaired: {place}: {}; did: {fix}",
                finding.trouble
            ));
        }
    }
    for (finding, errno) in &checked.failed {
        lines.push(format!(
            "not repaired: {}: {}",
            place(finding),
            Cause(*errno)
        ));
    }
    let mut notes: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in &checked.findings {
        if finding.trouble.severity() == Severity::Note {
            let seen = notes.entry(finding.trouble.code()).or_default();
            *seen += 1;
            if *seen > NOTES_MAX {
                continue;
            }
        }
        lines.push(line(spec, finding));
    }
    for (code, seen) in notes {
        if let Some(more @ 1..) = seen.checked_sub(NOTES_MAX) {
            lines.push(format!(
                "note: {more} more of the kind {code}; `--json` lists them"
            ));
        }
    }
    lines.push(summary(checked));
    lines.push(String::new());
    lines.join("\n")
}

fn line(spec: &CheckSpec, finding: &Finding) -> String {
    let severity = finding.trouble.severity().name();
    let said = format!("{severity}: {}: {}", place(finding), finding.trouble);
    match &finding.fix {
        Some(fix) if !spec.repair => format!("{said} (`--repair`: {fix})"),
        _ => match finding.trouble.advice() {
            Some(advice) => format!("{said} ({advice})"),
            None => said,
        },
    }
}

fn place(finding: &Finding) -> String {
    let path = Escaped::new(&finding.path);
    match finding.area {
        Area::Upper => path.to_string(),
        Area::Work => format!("work:{path}"),
    }
}

fn summary(checked: &Checked) -> String {
    let count = |severity| {
        let all = checked.findings.iter();
        all.filter(|found| found.trouble.severity() == severity)
            .count()
    };
    let (errors, warnings, notes) = (
        count(Severity::Error),
        count(Severity::Warning),
        count(Severity::Note),
    );
    let state = if checked.is_clean() {
        "clean"
    } else {
        "not clean"
    };
    format!(
        "{state}: {} objects, {}, {}, {}",
        checked.objects,
        plural(errors, "error"),
        plural(warnings, "warning"),
        plural(notes, "note")
    )
}

fn plural(count: usize, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
