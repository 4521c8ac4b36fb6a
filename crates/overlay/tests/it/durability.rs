//! OVL-53, OVL-65 to OVL-67: what is put on disk, and when.

use std::sync::Arc;

use mica_overlay::{Config, Durability, Overlay, SetupError, Upper};
use mica_testkit::{Detail, Fault, FaultLayer, Medium, Mounted, Stack, Walk, assert_same};
use mica_vfs::{Errno, Filesystem, SyncScope};

const LOWER: &str = "f='data' empty='' d/e/g='data' l->f p:fifo";

fn config(durability: Durability) -> Config {
    Config {
        durability,
        ..Config::default()
    }
}

fn stack(durability: Durability) -> Stack {
    let stack = Stack::new().upper("u='up' ud/").lower(LOWER);
    stack.config(config(durability))
}

/// Names the steps that matter here in the order in which they came: syncs, and what publishes.
fn syncs_and_renames(faults: &FaultLayer) -> Vec<&'static str> {
    let steps = faults.steps();
    let known = |step: &String| {
        ["fsync", "rename"]
            .into_iter()
            .find(|known| step.starts_with(known))
    };
    steps.iter().filter_map(known).collect()
}

#[track_caller]
fn order(
    durability: Durability,
    operate: impl Fn(Walk<'_>) -> Result<(), Errno>,
    expected: &[&str],
) {
    for medium in Medium::all() {
        let mut mounted = stack(durability).mount(medium);
        let faults = mounted.with_faults();
        operate(mounted.walk()).unwrap();
        assert_eq!(
            syncs_and_renames(&faults),
            expected,
            "{durability:?} over {medium:?}"
        );
        mounted.finish();
    }
}

#[test]
fn ovl_65_the_data_of_a_copy_is_on_disk_before_its_name_is() {
    order(
        Durability::Auto,
        |w| w.chmod("f", 0o600),
        &["fsync", "rename"],
    );
    // Nothing to lose but what the rename carries along.
    for path in ["empty", "d", "p"] {
        order(Durability::Auto, |w| w.chmod(path, 0o600), &["rename"]);
    }
    let deep = |w: Walk<'_>| w.chmod("d/e/g", 0o600);
    order(
        Durability::Auto,
        deep,
        &["rename", "rename", "fsync", "rename"],
    );
}

#[test]
fn ovl_67_strict_puts_files_and_directories_on_disk_before_their_names() {
    for path in ["f", "empty", "d"] {
        let chmod = |w: Walk<'_>| w.chmod(path, 0o600);
        order(Durability::Strict, chmod, &["fsync", "rename"]);
    }
    let deep = |w: Walk<'_>| w.chmod("d/e/g", 0o600);
    let each = ["fsync", "rename", "fsync", "rename", "fsync", "rename"];
    order(Durability::Strict, deep, &each);
    // What nobody can open to sync goes with the rename, as in the kernel.
    order(Durability::Strict, |w| w.chmod("p", 0o600), &["rename"]);
    order(Durability::Strict, |w| w.chown("l", 1, 1), &["rename"]);
}

#[test]
fn ovl_67_a_fault_at_any_step_of_a_strict_copy_up_changes_nothing() {
    let view = |mounted: &Mounted| mounted.dump(Detail::NLINK);
    for medium in Medium::all() {
        for path in ["f", "empty", "d", "d/e", "p"] {
            let operate = |w: Walk<'_>| w.chmod(path, 0o600);
            let mut mounted = stack(Durability::Strict).mount(medium);
            let faults = mounted.with_faults();
            let before = view(&mounted);
            operate(mounted.walk()).unwrap();
            let (after, steps) = (view(&mounted), faults.changes());
            mounted.finish();
            for nth in 1..=steps {
                for fault in [Fault::Fail(Errno::IO), Fault::Stop] {
                    let mut mounted = stack(Durability::Strict).mount(medium);
                    let faults = mounted.with_faults();
                    faults.arm(nth, fault);
                    let result = operate(mounted.walk());
                    faults.heal();
                    mounted.remount();
                    let found = view(&mounted);
                    let expected = if result.is_ok() { &after } else { &before };
                    let what = format!("chmod {path}, {fault:?} at step {nth} over {medium:?}");
                    if found.diff(expected).is_some() {
                        assert_same(&after, &found, &what);
                    }
                    let left = mounted.walk_work().ls("work").unwrap();
                    assert!(left.is_empty(), "{what}: {left:?}");
                    mounted.finish();
                }
            }
            eprintln!("{medium:?}: strict chmod {path}: {steps} steps");
        }
    }
}

#[test]
fn ovl_53_fsync_reaches_the_upper_once_each_and_a_lower_never() {
    for durability in [Durability::Auto, Durability::Strict] {
        for medium in Medium::all() {
            let mut mounted = stack(durability).mount(medium);
            let faults = mounted.with_faults();
            for (path, expected) in [
                ("u", 1),
                ("ud", 1),
                ("", 1),
                ("f", 0),
                ("d", 0),
                ("d/e/g", 0),
            ] {
                for scope in [SyncScope::Data, SyncScope::All] {
                    let held = mounted.walk().hold(path).unwrap();
                    faults.reset();
                    mounted.overlay().fsync(held.node(), scope).unwrap();
                    assert_eq!(
                        faults.steps(),
                        vec!["fsync"; expected],
                        "`{path}` over {medium:?}"
                    );
                }
            }
            let held = mounted.walk().hold("u").unwrap();
            faults.arm(1, Fault::Fail(Errno::IO));
            let failed = mounted.overlay().fsync(held.node(), SyncScope::All);
            assert_eq!(failed, Err(Errno::IO), "what the disk says is passed on");
            drop(held);
            mounted.finish();
        }
    }
}

/// The layers of a stack that is not mounted, with faults under the upper.
struct Unmounted {
    mounted: Mounted,
    faults: Arc<FaultLayer>,
    upper: Upper,
}

impl Unmounted {
    fn new(medium: Medium) -> Self {
        let mut mounted = stack(Durability::Auto).mount(medium);
        let faults = mounted.with_faults();
        mounted.unmount();
        faults.reset();
        let upper = mounted.upper().unwrap().clone();
        Self {
            mounted,
            faults,
            upper,
        }
    }

    fn mount(&self, durability: Durability) -> Result<Overlay, SetupError> {
        let (upper, lowers) = (self.upper.clone(), self.mounted.lowers().to_vec());
        Overlay::new(Some(upper), lowers, config(durability))
    }

    fn work(&self) -> Walk<'_> {
        self.mounted.walk_work()
    }
}

#[test]
fn ovl_66_a_volatile_mount_syncs_nothing() {
    for medium in Medium::all() {
        let layers = Unmounted::new(medium);
        let overlay = layers.mount(Durability::Volatile).unwrap();
        let walk = Walk::new(&overlay);
        walk.write_at("f", 0, b"DATA").unwrap();
        walk.chmod("d/e/g", 0o600).unwrap();
        // A disk that fails to sync is not asked.
        for path in ["f", "u", "ud", "d", "d/e/g", ""] {
            let held = walk.hold(path).unwrap();
            for scope in [SyncScope::Data, SyncScope::All] {
                assert_eq!(overlay.fsync(held.node(), scope), Ok(()), "`{path}`");
            }
        }
        assert!(!syncs_and_renames(&layers.faults).contains(&"fsync"));
        drop(overlay);
        layers.mounted.finish();
    }
}

#[test]
fn ovl_66_the_mark_of_a_volatile_mount_outlives_it_and_every_mount_refuses_it() {
    for medium in Medium::all() {
        let layers = Unmounted::new(medium);
        let overlay = layers.mount(Durability::Volatile).unwrap();
        Walk::new(&overlay).unlink("f").unwrap();
        Walk::new(&overlay).write_at("u", 0, b"UP").unwrap();
        drop(overlay);
        // What the kernel writes: three directories and a file, closed to everybody (ovl_create_volatile_dirty).
        for path in ["work/incompat", "work/incompat/volatile"] {
            assert_eq!(layers.work().stat(path).unwrap().mode.bits(), 0, "{path}");
        }
        let dirty = layers.work().stat("work/incompat/volatile/dirty").unwrap();
        assert_eq!((dirty.mode.bits(), dirty.size), (0, 0));
        assert_eq!(layers.work().ls("work").unwrap(), ["incompat"]);
        for durability in [Durability::Auto, Durability::Strict, Durability::Volatile] {
            let refused = layers.mount(durability).map(drop);
            let feature = "volatile".to_owned();
            assert_eq!(refused, Err(SetupError::Incompatible { feature }));
        }
        // Who knows that nothing was lost takes the mark away.
        layers.work().remove_all("work/incompat/volatile").unwrap();
        let overlay = layers.mount(Durability::Auto).unwrap();
        assert_eq!(Walk::new(&overlay).read_text("u").as_deref(), Ok("UP"));
        assert_eq!(overlay.recovered(), 0);
        drop(overlay);
        assert_eq!(layers.work().ls("work").unwrap(), Vec::<String>::new());
        layers.mounted.finish();
    }
}

#[test]
fn ovl_66_a_mount_that_cannot_set_its_mark_is_refused_and_leaves_none() {
    for medium in Medium::all() {
        let mut refusals = 0;
        for fault in [Fault::Fail(Errno::NOSPC), Fault::Stop] {
            for nth in 1.. {
                let layers = Unmounted::new(medium);
                layers.faults.arm(nth, fault);
                let mount = layers.mount(Durability::Volatile).map(drop);
                let struck = layers.faults.struck();
                layers.faults.heal();
                if !struck {
                    layers.mounted.finish();
                    break;
                }
                assert!(mount.is_err(), "step {nth} failed, and the mount goes on");
                refusals += 1;
                let next = layers.mount(Durability::Auto).unwrap();
                drop(next);
                assert_eq!(layers.work().ls("work").unwrap(), Vec::<String>::new());
                layers.mounted.finish();
            }
        }
        // At least the two directories, the file and the rename, twice.
        assert!(refusals >= 8, "{refusals} refusals over {medium:?}");
        eprintln!("{medium:?}: {refusals} refused volatile mounts");
    }
}

#[test]
fn ovl_66_a_volatile_mount_that_never_was_leaves_no_mark() {
    for medium in Medium::all() {
        let layers = Unmounted::new(medium);
        let overlay = layers.mount(Durability::Volatile).unwrap();
        overlay.abandon();
        drop(overlay);
        drop(layers.mount(Durability::Auto).unwrap());
        // What is wrong with another layer is found before the mark is set.
        let mut lowers = layers.mounted.lowers().to_vec();
        let lower = lowers[0].clone();
        let file = Walk::at(&*lower.fs, lower.root).hold("f").unwrap();
        lowers[0].root = file.node();
        let upper = Some(layers.upper.clone());
        let refused = Overlay::new(upper, lowers, config(Durability::Volatile));
        assert!(matches!(refused, Err(SetupError::NotADirectory { .. })));
        assert!(!layers.work().exists("work/incompat"));
        drop(file);
        layers.mounted.finish();
    }
}
