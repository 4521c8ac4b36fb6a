//! Uppers that cannot do in one step what the overlay would like to do in one.

use mica_overlay::{CopyUpStep, Index};
use mica_testkit::{Lacks, Medium};

use super::{NOSPC, Named, STOP, Tables, row, strike_each};
use crate::coverage::Coverage;
use crate::jobs::work_on;
use crate::strike::{Aim, Next, Target, Ways};
use crate::table::cases;

const FAULTS: [Named; 2] = [NOSPC, STOP];

/// What an index can do without.
const ALL_OF_INDEX: Lacks = Lacks::all().difference(Lacks::HANDLES.union(Lacks::UUID));

const LACKS: [Lacks; 7] = [
    Lacks::EXCHANGE,
    Lacks::WHITEOUT,
    Lacks::EXCHANGE.union(Lacks::WHITEOUT),
    Lacks::WHITEOUT_LINKS,
    Lacks::TMPFILE,
    Lacks::all(),
    ALL_OF_INDEX,
];

#[test]
fn a_fault_in_a_dance_leaves_the_view_before_or_after_and_a_stop_what_is_written_down() {
    let names = FAULTS.map(|(name, _)| name);
    let tables = Tables {
        operations: Coverage::new("operation", &names, Vec::<String>::new()),
        calls: Coverage::new("call of the upper", &names, Vec::<String>::new()),
        steps: Coverage::new("step of a copy-up", &names, &CopyUpStep::ALL[1..]),
    };
    let mut jobs = Vec::new();
    for lacks in LACKS {
        for medium in Medium::all() {
            let ways = Ways {
                lacks,
                ..Ways::PLAIN
            };
            // The dances are the same over all layers: the host shows that it can do those that lack most.
            if medium == Medium::Host && !lacks.contains(ALL_OF_INDEX) {
                continue;
            }
            let cases = cases().filter(|case| match case.index {
                Index::On => lacks != Lacks::all(),
                Index::Off => lacks != ALL_OF_INDEX,
            });
            jobs.extend(cases.map(|case| Target { case, medium, ways }));
        }
    }
    let lacking = Coverage::new(
        "lacking",
        &["runs", "refused"],
        LACKS.map(|lacks| format!("{lacks:?}")),
    );
    work_on(&jobs, |target, log, failures| {
        let known = failures.catch(&row(target), || target.undisturbed());
        let Some(known) = known else {
            return;
        };
        let word = if known.is_some() { "runs" } else { "refused" };
        lacking.add(&format!("{:?}", target.ways.lacks), word);
        let Some(known) = known else {
            return;
        };
        let aim = (Aim::Changes, known.changes);
        let then = (&FAULTS[..], Next::Mica);
        strike_each((target, &known), aim, then, (log, failures), &tables);
    });
    // Of what cannot be refused nothing is.
    lacking.finish();
    tables.finish();
}
