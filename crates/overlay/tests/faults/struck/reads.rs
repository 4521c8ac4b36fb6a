//! A fault at every read of a lower, and of the upper: what fails is undone, and nothing wrong is remembered.

use mica_overlay::{Config, CopyUpStep};
use mica_testkit::{Call, Detail, Fault, Medium, Mounted, Stack, assert_same};
use mica_vfs::Errno;

use super::{IO, Named, STOP, Tables, strike_each};
use crate::coverage::Coverage;
use crate::jobs::work_on;
use crate::strike::{Aim, Next, Target, Ways};
use crate::table::{READINGS, Reading, cases, reading};

const FAULTS: [Named; 2] = [IO, STOP];
/// The steps of a copy-up that read.
const STEPS: [CopyUpStep; 5] = [
    CopyUpStep::Read,
    CopyUpStep::Create,
    CopyUpStep::Data,
    CopyUpStep::Xattrs,
    CopyUpStep::Publish,
];

#[test]
fn a_change_whose_read_fails_leaves_the_view_before_or_the_one_after() {
    let names = FAULTS.map(|(name, _)| name);
    let rows = cases().map(|case| format!("{}: {}", case.call, case.name));
    let changing = [
        Call::Lookup,
        Call::ReadDir,
        Call::ReadLink,
        Call::GetAttr,
        Call::GetXattr,
        Call::ListXattr,
        Call::Read,
        Call::HostFile,
        Call::FileHandle,
    ];
    let tables = Tables {
        operations: Coverage::new("operation", &names, rows),
        calls: Coverage::new("call of a layer", &names, changing),
        steps: Coverage::new("step of a copy-up", &names, STEPS),
    };
    let mut jobs = Vec::new();
    for medium in Medium::all() {
        let ways = Ways::PLAIN;
        jobs.extend(cases().map(|case| Target { case, medium, ways }));
    }
    work_on(&jobs, |target, log, failures| {
        let known = failures.catch(target.case.name, || target.undisturbed());
        let Some(Some(known)) = known else {
            return;
        };
        for aim in [
            (Aim::UpperReads, known.upper_reads),
            (Aim::LowerReads, known.lower_reads),
        ] {
            let then = (&FAULTS[..], Next::Mica);
            strike_each((target, &known), aim, then, (log, failures), &tables);
        }
    });
    tables.finish();
}

/// Mounts with a file that was copied up.
fn mount(medium: Medium) -> Mounted {
    let [above, below] = reading::LOWERS;
    let stack = Stack::new().upper(reading::UPPER).lower(above).lower(below);
    let mounted = stack.config(Config::default()).mount(medium);
    mounted.walk().chmod("copied", 0o600).unwrap();
    mounted
}

#[test]
fn a_read_that_fails_is_answered_rightly_or_not_at_all_and_the_next_is_right() {
    // A handle is asked for when it is written down, by a copy-up.
    let reads = Call::READS
        .into_iter()
        .filter(|call| *call != Call::FileHandle);
    let columns = ["upper EIO", "upper stop", "lower EIO", "lower stop"];
    let operations = Coverage::new(
        "reading",
        &["EIO", "stop"],
        READINGS.iter().map(|(name, _)| name),
    );
    let calls = Coverage::new("call of a layer", &["EIO", "stop"], reads);
    let sides = Coverage::new("of", &columns, ["any"]);
    let mut jobs = Vec::new();
    for medium in Medium::all() {
        jobs.extend(READINGS.iter().map(|reading| (medium, *reading)));
    }
    work_on(&jobs, |&(medium, reading), _, failures| {
        for lower in [false, true] {
            for (fault_name, fault) in FAULTS {
                for nth in 1.. {
                    let what = format!("{}, {fault_name} at {nth} over {medium:?}", reading.0);
                    let struck =
                        failures.catch(&what, || strike(medium, reading, (lower, nth, fault)));
                    let Some(Some(call)) = struck else {
                        break;
                    };
                    operations.add(reading.0, fault_name);
                    calls.add(call.name(), fault_name);
                    let side = if lower { "lower" } else { "upper" };
                    sides.add("any", &format!("{side} {fault_name}"));
                }
            }
        }
    });
    let zeros: Vec<_> = [operations, calls, sides]
        .iter()
        .flat_map(Coverage::finish)
        .collect();
    assert!(zeros.is_empty(), "{}", zeros.join("\n"));
}

/// Strikes one read; `None` if there are fewer.
fn strike(
    medium: Medium,
    (_, read): Reading,
    (lower, nth, fault): (bool, usize, Fault),
) -> Option<Call> {
    let detail = Detail::NLINK | Detail::INO;
    let mut mounted = mount(medium);
    let faults = if lower {
        mounted.with_lower_faults()
    } else {
        mounted.with_faults()
    };
    let right = read(mounted.walk());
    let before = mounted.dump(detail);
    mounted.remount();
    faults.arm_reads(nth, fault);
    let answer = read(mounted.walk());
    let call = faults.struck_call();
    faults.heal();
    if answer != right {
        assert_eq!(answer, Err(Errno::IO), "instead of {right:?}");
    }
    assert_eq!(mounted.overlay().stats().nodes, 1, "nodes are referenced");
    assert_eq!(read(mounted.walk()), right, "the next answer");
    assert_same(&before, &mounted.dump(detail), "the view after a fault");
    mounted.finish();
    call
}
