//! The tests. They take minutes, and are a tier of their own.

mod changes;
mod kernel;
mod lacking;
mod mounts;
mod reads;

use mica_testkit::{Fault, Medium};
use mica_vfs::Errno;

use crate::coverage::Coverage;
use crate::jobs::Failures;
use crate::log::Listener;
use crate::strike::{Aim, Strike, Struck, Target, Undisturbed};

/// A fault and how a table heads its column.
type Named = (&'static str, Fault);

const NOSPC: Named = ("ENOSPC", Fault::Fail(Errno::NOSPC));
const DQUOT: Named = ("EDQUOT", Fault::Fail(Errno::DQUOT));
const IO: Named = ("EIO", Fault::Fail(Errno::IO));
const SHORT: Named = ("short", Fault::Short);
const STOP: Named = ("stop", Fault::Stop);

/// What is counted.
struct Tables {
    operations: Coverage,
    calls: Coverage,
    steps: Coverage,
}

impl Tables {
    fn add(&self, target: &Target, fault: &str, struck: &Struck) {
        let Some(call) = struck.call else {
            return;
        };
        self.operations.add(&row(target), fault);
        self.calls.add(call.name(), fault);
        if let Some(step) = struck.steps.first() {
            self.steps.add(step, fault);
        }
    }

    /// Prints the tables, and fails if a cell is 0.
    fn finish(self) {
        let tables = [self.operations, self.calls, self.steps];
        let zeros: Vec<_> = tables.iter().flat_map(Coverage::finish).collect();
        // Some calls are the host's alone; that it is left out was reported.
        let all = Medium::all().any(|medium| medium == Medium::Host);
        assert!(zeros.is_empty() || !all, "{}", zeros.join("\n"));
    }
}

fn row(target: &Target) -> String {
    format!("{}: {}", target.case.call, target.case.name)
}

fn what(target: &Target, (name, _): Named, (aim, nth): (Aim, usize)) -> String {
    let Target { case, medium, ways } = target;
    format!(
        "{}, {name} at {nth} of {aim:?} over {medium:?}, {ways:?}",
        case.name
    )
}

/// Strikes each of the first `count` calls with each of `faults`.
fn strike_each(
    (target, known): (&Target, &Undisturbed),
    (aim, count): (Aim, usize),
    (faults, next): (&[Named], crate::strike::Next),
    (log, failures): (&Listener, &Failures),
    tables: &Tables,
) {
    for nth in 1..=count {
        for &(name, fault) in faults {
            let strike = Strike {
                aim,
                nth,
                fault,
                next,
            };
            let what = what(target, (name, fault), (aim, nth));
            let struck = failures.catch(&what, || target.strike(known, strike, log));
            if let Some(struck) = struck {
                tables.add(target, name, &struck);
            }
        }
    }
}
