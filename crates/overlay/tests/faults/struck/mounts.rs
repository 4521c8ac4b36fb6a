//! A fault while a mount prepares its work directory, and while it ends.

use mica_overlay::{Config, Overlay};
use mica_testkit::{Detail, Medium, Mounted, Stack, assert_same};

use super::{IO, NOSPC, Named, STOP};
use crate::coverage::Coverage;

const FAULTS: [Named; 3] = [NOSPC, IO, STOP];

/// Layers whose work directory a mount before left in a mess.
fn mess(medium: Medium) -> Mounted {
    let stack = Stack::new().upper("u='u'").lower("f='lower' g='1'");
    let mut mounted = stack.mount(medium);
    mounted.walk().unlink("g").unwrap();
    mounted.unmount();
    let work = mounted.walk_work();
    for dir in ["work/#1", "work/#1/deep"] {
        work.mkdir(dir).unwrap();
    }
    for file in ["work/#2", "work/#1/a", "work/#1/deep/b"] {
        work.write(file, b"half").unwrap();
    }
    mounted
}

#[test]
fn a_mount_that_fails_at_any_change_can_be_tried_again_and_one_that_cannot_clean_up_is_cleaned_up_after()
 {
    let phases = Coverage::new("phase", &FAULTS.map(|(name, _)| name), ["mount", "unmount"]);
    for medium in Medium::all() {
        for (name, fault) in FAULTS {
            for nth in 1.. {
                let mut mounted = mess(medium);
                mounted.remount();
                let before = mounted.dump(Detail::NLINK);
                let faults = mounted.with_faults();
                mounted.unmount();
                // With something to empty.
                let left = mounted.walk_work();
                left.mkdir("work/#7").unwrap();
                left.write("work/#7/a", b"half").unwrap();
                let phase = strike(&mounted, &faults, (nth, fault));
                faults.heal();
                mounted.remount();
                assert_same(&before, &mounted.dump(Detail::NLINK), "after the mount");
                assert!(mounted.walk_work().ls("work").unwrap().is_empty());
                mounted.finish();
                let Some(phase) = phase else {
                    break;
                };
                phases.add(phase, name);
            }
        }
    }
    assert_eq!(phases.finish(), Vec::<String>::new());
}

/// Mounts, makes a whiteout and unmounts. Returns when the fault struck.
fn strike(
    mounted: &Mounted,
    faults: &mica_testkit::FaultLayer,
    (nth, fault): (usize, mica_testkit::Fault),
) -> Option<&'static str> {
    faults.arm(nth, fault);
    let (upper, lowers) = (mounted.upper().cloned(), mounted.lowers().to_vec());
    let overlay = Overlay::new(upper, lowers, Config::default());
    if faults.struck() {
        assert!(overlay.is_err(), "a change failed, and the mount goes on");
        return Some("mount");
    }
    drop(overlay.unwrap());
    faults.struck().then_some("unmount")
}
