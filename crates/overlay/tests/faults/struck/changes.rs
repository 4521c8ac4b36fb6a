//! A fault at every change of the upper.

use mica_overlay::{CopyUpStep, Durability};
use mica_testkit::{Call, Medium};

use super::{DQUOT, IO, NOSPC, Named, SHORT, STOP, Tables, strike_each};
use crate::coverage::Coverage;
use crate::jobs::work_on;
use crate::strike::{Aim, Next, Target, Ways};
use crate::table::cases;

const FAULTS: [Named; 5] = [NOSPC, DQUOT, IO, SHORT, STOP];

/// The ways to mount, the faults to strike each with, and over which layers.
fn ways(medium: Medium) -> Vec<(Ways, &'static [Named])> {
    let plain = Ways::PLAIN;
    let durability = |durability| Ways {
        durability,
        ..plain
    };
    let kept = Ways {
        nameless_max: 0,
        ..plain
    };
    let mut ways: Vec<(Ways, &'static [Named])> = vec![(plain, &FAULTS), (kept, &[NOSPC, STOP])];
    if medium == Medium::Memory {
        // Nothing of these depends on what the layers are.
        ways.push((durability(Durability::Strict), &[IO, STOP]));
        ways.push((durability(Durability::Volatile), &[NOSPC, STOP]));
    }
    ways
}

#[test]
fn a_fault_at_any_change_leaves_the_view_before_or_the_one_after() {
    let names = FAULTS.map(|(name, _)| name);
    let rows = cases().map(|case| format!("{}: {}", case.call, case.name));
    let tables = Tables {
        operations: Coverage::new("operation", &names, rows),
        calls: Coverage::new("call of the upper", &names, Call::CHANGES),
        // The first step changes nothing: it is struck with the reads.
        steps: Coverage::new("step of a copy-up", &names, &CopyUpStep::ALL[1..]),
    };
    let mut jobs = Vec::new();
    for medium in Medium::all() {
        for case in cases() {
            for (ways, faults) in ways(medium) {
                jobs.push((Target { case, medium, ways }, faults));
            }
        }
    }
    work_on(&jobs, |(target, faults), log, failures| {
        let known = failures.catch(target.case.name, || target.undisturbed());
        let Some(Some(known)) = known else {
            return;
        };
        let aim = (Aim::Changes, known.changes);
        strike_each(
            (target, &known),
            aim,
            (faults, Next::Mica),
            (log, failures),
            &tables,
        );
    });
    tables.finish();
}
