//! OVL-137, OVL-139: lowers that somebody changes behind the mount.

use std::sync::Arc;

use mica_overlay::Config;
use mica_testkit::{Call, Medium, Stack, Walk};
use mica_vfs::{Coherence, Errno};

/// In memory alone: a layer of the host that is mounted as a lower takes no change.
#[test]
fn ovl_137_a_file_that_changes_while_it_is_copied_up_is_estale_and_no_mix() {
    for (write, at) in [(true, 0), (true, 3), (false, 1)] {
        let stack = Stack::new().upper("").lower("d/f='before'");
        let mut mounted = stack.mount(Medium::Memory);
        let faults = mounted.with_faults();
        let lower = mounted.lowers()[0].clone();
        let layer = Arc::clone(&lower.fs);
        faults.meanwhile(Call::CopyFrom, move || {
            let walk = Walk::at(&*layer, lower.root);
            if write {
                walk.write_at("d/f", at, b"AFTER").unwrap();
            } else {
                walk.truncate("d/f", at).unwrap();
            }
        });
        let walk = mounted.walk();
        assert_eq!(walk.write_at("d/f", 0, b"x"), Err(Errno::STALE));
        // Nothing of it is in the upper, nor in the work directory.
        let stored = mounted.walk_upper().stat("d/f").map(drop);
        assert_eq!(stored, Err(Errno::NOENT));
        assert_eq!(mounted.walk_work().ls("work").unwrap(), [""; 0]);
        // The next try finds the lower as it is now, whole.
        let mut expected = walk.read("d/f").unwrap();
        walk.write_at("d/f", 0, b"x").unwrap();
        expected[0] = b'x';
        assert_eq!(walk.read("d/f").unwrap(), expected);
        // No `finish`: the lower did change.
        mounted.unmount();
    }
}

#[test]
fn ovl_139_a_listing_is_of_the_directories_that_merged_when_it_began() {
    let shared = Config {
        coherence: Coherence::Shared,
        ..Config::default()
    };
    let stack = Stack::new().upper("d/both='u'").lower("x='x'");
    let mut mounted = stack.config(shared).mount(Medium::Memory);
    let faults = mounted.with_faults();
    let held = mounted.walk().hold("d").unwrap();
    let (lower, overlay) = (mounted.lowers()[0].clone(), Arc::clone(mounted.overlay()));
    faults.meanwhile(Call::ReadDir, move || {
        let layer = Walk::at(&*lower.fs, lower.root);
        layer.mkdir("d").unwrap();
        layer.write("d/both", b"l").unwrap();
        layer.write("d/more", b"l").unwrap();
        assert!(Walk::new(&*overlay).exists("d/more"));
    });
    assert_eq!(mounted.walk().ls("d").unwrap(), ["both"]);
    // Who begins after that sees it.
    assert_eq!(mounted.walk().ls("d").unwrap(), ["both", "more"]);
    drop(held);
    // No `finish`: the lower did change.
    mounted.unmount();
}
