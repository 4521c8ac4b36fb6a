//! What a check found, as one JSON object.

use std::os::unix::ffi::OsStrExt as _;

use mica::{Area, CheckSpec, Checked, Finding};
use serde_json::{Value, json};

use crate::cause::Cause;

/// Shows all of it, on one line.
pub(super) fn show(spec: &CheckSpec, checked: &Checked) -> String {
    let findings: Vec<Value> = checked.findings.iter().map(finding).collect();
    let repaired: Vec<Value> = checked.repaired.iter().map(finding).collect();
    let failed = checked.failed.iter().map(|(found, errno)| {
        let mut value = finding(found);
        if let Some(object) = value.as_object_mut() {
            object.insert("cause".into(), Cause(*errno).to_string().into());
        }
        value
    });
    let all = json!({
        "upper": spec.upper.to_string_lossy(),
        "prefix": checked.xattrs.prefix().escape_ascii().to_string(),
        "clean": checked.is_clean() && checked.failed.is_empty(),
        "objects": checked.objects,
        "findings": findings,
        "repaired": repaired,
        "not_repaired": failed.collect::<Vec<_>>(),
    });
    format!("{all}\n")
}

/// A path that is not UTF-8 is also given as the numbers of its bytes.
fn finding(finding: &Finding) -> Value {
    let mut value = json!({
        "severity": finding.trouble.severity().name(),
        "kind": finding.trouble.code(),
        "in": match finding.area { Area::Upper => "upper", Area::Work => "work" },
        "path": finding.path.to_string_lossy(),
        "text": finding.trouble.to_string(),
        "repair": finding.fix.as_ref().map(ToString::to_string),
        "advice": finding.trouble.advice(),
    });
    if finding.path.to_str().is_none()
        && let Some(object) = value.as_object_mut()
    {
        let bytes = finding.path.as_os_str().as_bytes();
        object.insert("path_bytes".into(), bytes.into());
    }
    value
}
