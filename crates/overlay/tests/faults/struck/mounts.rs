//! A fault while a mount prepares its work directory, and while it ends.

use mica_overlay::{Config, Overlay};
use mica_testkit::{Detail, Fault, FaultLayer, Medium, Mounted, Stack, Walk, assert_same};

use super::{IO, NOSPC, Named, STOP};
use crate::coverage::Coverage;

const FAULTS: [Named; 3] = [NOSPC, IO, STOP];

/// Lets the work directory be what a killed mount leaves.
fn litter(mounted: &Mounted) {
    let work = mounted.walk_work();
    for dir in ["work/#1", "work/#1/deep"] {
        work.mkdir(dir).unwrap();
    }
    for file in ["work/#2", "work/#1/a", "work/#1/deep/b"] {
        work.write(file, b"half").unwrap();
    }
}

#[test]
fn a_mount_can_be_tried_again_after_a_fault_and_cleans_up_after_one_that_could_not() {
    let phases = Coverage::new("phase", &FAULTS.map(|(name, _)| name), ["mount", "unmount"]);
    for medium in Medium::all() {
        for (name, fault) in FAULTS {
            for phase in ["mount", "unmount"] {
                for nth in 1.. {
                    let struck = strike(medium, phase, (nth, fault));
                    if !struck {
                        break;
                    }
                    phases.add(phase, name);
                }
            }
        }
    }
    assert_eq!(phases.finish(), Vec::<String>::new());
}

/// Returns whether there were so many changes.
fn strike(medium: Medium, phase: &str, (nth, fault): (usize, Fault)) -> bool {
    let stack = Stack::new().upper("u='u'").lower("f='lower' g='1'");
    let mut mounted = stack.mount(medium);
    let faults = mounted.with_faults();
    mounted.walk().unlink("g").unwrap();
    let before = mounted.dump(Detail::NLINK);
    mounted.unmount();
    litter(&mounted);
    if phase == "mount" {
        strike_mount(&mounted, &faults, (nth, fault));
    } else {
        strike_unmount(&mut mounted, &faults, (nth, fault));
    }
    let struck = faults.struck();
    faults.heal();
    mounted.remount();
    assert_same(&before, &mounted.dump(Detail::NLINK), "the next mount");
    let left = mounted.walk_work().ls("work").unwrap();
    assert!(left.is_empty(), "left in the work directory: {left:?}");
    mounted.finish();
    struck
}

fn strike_mount(mounted: &Mounted, faults: &FaultLayer, (nth, fault): (usize, Fault)) {
    faults.arm(nth, fault);
    let (upper, lowers) = (mounted.upper().cloned(), mounted.lowers().to_vec());
    let overlay = Overlay::new(upper, lowers, Config::default());
    let struck = faults.struck();
    assert_eq!(
        overlay.is_err(),
        struck,
        "a change failed, and the mount goes on"
    );
    // Its end is another phase.
    if overlay.is_ok() {
        faults.heal();
    }
}

fn strike_unmount(mounted: &mut Mounted, faults: &FaultLayer, (nth, fault): (usize, Fault)) {
    let config = Config {
        nameless_max: 0,
        ..Config::default()
    };
    mounted.remount_with(config);
    // The whiteout that all share, and a file that only the work directory keeps and nobody forgets.
    let walk = Walk::new(&**mounted.overlay());
    walk.unlink("f").unwrap();
    walk.create("f", 0o644).unwrap();
    walk.write_at("f", 0, b"lower").unwrap();
    std::mem::forget(walk.tmpfile("", 0o600).unwrap());
    faults.arm(nth, fault);
    mounted.unmount();
}
