//! What a fault left, mounted by the kernel.

use mica_overlay::CopyUpStep;
use mica_testkit::{Call, KernelMount, Medium};

use super::{NOSPC, Named, STOP, Tables, strike_each};
use crate::coverage::Coverage;
use crate::jobs::work_on;
use crate::strike::{Aim, Next, Target, Ways};
use crate::table::{CUT, cases};

/// What leaves whiteouts in an opaque directory, if only until it is swept (OVL-25): the kernel lists their names, though it finds
/// nothing there (ovl_dir_is_real).
const LISTED: [&str; 3] = [
    "rmdir a sealed directory",
    "rename a directory over a swept one",
    "rename a merged directory over a swept one",
];

const FAULTS: [Named; 2] = [NOSPC, STOP];

#[test]
fn the_kernel_shows_the_view_before_or_the_one_after_and_empties_the_work_directory() {
    let test = "the_kernel_shows_the_view_before_or_the_one_after_and_empties_the_work_directory";
    if !Medium::all().any(|medium| medium == Medium::Host) || !KernelMount::is_possible(test) {
        return;
    }
    let names = FAULTS.map(|(name, _)| name);
    // Whiteouts of another overlay are files to the kernel (OVL-130).
    let files = |name: &str| name.starts_with("mknod 0:0") || name == CUT;
    let cases = || cases().filter(|case| !LISTED.contains(&case.name) && !files(case.name));
    let rows = cases().map(|case| format!("{}: {}", case.call, case.name));
    let tables = Tables {
        operations: Coverage::new("operation, then the kernel", &names, rows),
        calls: Coverage::new("call of the upper", &names, Call::CHANGES),
        steps: Coverage::new("step of a copy-up", &names, &CopyUpStep::ALL[1..]),
    };
    let medium = Medium::Host;
    let kept = Ways {
        nameless_max: 0,
        ..Ways::PLAIN
    };
    let mut jobs = Vec::new();
    for ways in [Ways::PLAIN, kept] {
        jobs.extend(cases().map(|case| Target { case, medium, ways }));
    }
    work_on(&jobs, |target, log, failures| {
        let known = failures.catch(target.case.name, || target.undisturbed());
        let Some(Some(known)) = known else {
            return;
        };
        let aim = (Aim::Changes, known.changes);
        let then = (&FAULTS[..], Next::Kernel);
        strike_each((target, &known), aim, then, (log, failures), &tables);
    });
    tables.finish();
}
