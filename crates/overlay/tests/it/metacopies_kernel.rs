//! OVL-104 to OVL-106 against the kernel: what one of the two leaves in an upper is what the other leaves, and what it shows.

use mica_overlay::{Config, Metacopies};
use mica_testkit::{Detail, Dump, KernelMount, Medium, Mounted, Stack, Walk, assert_same};
use mica_vfs::{Errno, RenameFlags, Time};

type Operate = fn(Walk<'_>) -> Result<(), Errno>;

const LOWER: &str = "a='0123456789'@4755~3:4[user.k=v] b='b' c='c' e='' h='hard' h2=>h big=hole(64K) \
                     d/f='deep' d/g='deeper' k/ l->a p:fifo";
const TIME: Time = Time { secs: 99, nanos: 7 };

/// What is done one after the other.
const STEPS: [&[Operate]; 4] = [
    &[
        |w| w.chmod("a", 0o4750),
        |w| w.chown("b", 8, 9),
        |w| w.utimens("c", TIME, TIME),
        |w| w.chmod("e", 0o600),
        |w| w.setxattr("d/f", "user.new", b"v"),
        |w| w.chown("l", 1, 1),
        |w| w.chmod("p", 0o600),
        |w| w.chmod("h", 0o600),
        |w| w.truncate("big", 1000),
    ],
    &[
        |w| w.rename("a", "a2"),
        |w| w.rename("b", "k/b"),
        |w| w.link("c", "k/c"),
        |w| w.rename("h", "h3"),
        |w| w.rename_with("e", "d/g", RenameFlags::EXCHANGE),
        |w| w.rename("d", "d2"),
        |w| w.rename("d2/f", "d2/f2"),
    ],
    &[
        |w| w.write_at("a2", 2, b"AB"),
        |w| w.chmod("k/b", 0o640),
        |w| w.write_at("k/c", 0, b"C"),
        |w| w.rename("d2/f2", "f3"),
        |w| w.truncate("h3", 2),
        |w| w.link("f3", "f4"),
    ],
    &[
        |w| w.truncate("f4", 0),
        |w| w.unlink("k/b"),
        |w| w.write_at("e", 0, b"E"),
        |w| w.rename("d2", "d3"),
        |w| w.chmod("d3/g", 0o600),
        |w| w.rename("h2", "k/h2"),
    ],
];

/// Who does a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Mica,
    Kernel,
}

fn do_step(mounted: &mut Mounted, by: By, step: &[Operate]) {
    let run = |walk: Walk<'_>| {
        for (at, operate) in step.iter().enumerate() {
            assert_eq!(operate(walk), Ok(()), "operation {at} by {by:?}");
        }
    };
    match by {
        By::Mica => {
            mounted.remount();
            run(mounted.walk());
            mounted.unmount();
        }
        By::Kernel => {
            mounted.unmount();
            let kernel = mounted.mount_by_kernel().unwrap();
            let fs = kernel.fs();
            run(Walk::new(&fs));
        }
    }
}

/// Reads the upper. Handles of origins are those of other inodes in another stack, and the root has a UUID from the kernel.
fn upper_of(mounted: &Mounted) -> Dump {
    let mut upper = mounted.dump_upper(Detail::empty());
    for object in upper.0.values_mut() {
        object.xattrs.remove("trusted.overlay.uuid");
        if let Some(origin) = object.xattrs.get_mut("trusted.overlay.origin") {
            origin.truncate(5);
        }
    }
    upper
}

/// What each driver shows of the same upper.
fn shown(mounted: &mut Mounted) -> (Dump, Dump) {
    mounted.remount();
    let mica = mounted.dump(Detail::NLINK).without_root();
    mounted.unmount();
    let kernel = mounted.mount_by_kernel().unwrap();
    (mica, kernel.dump(Detail::NLINK).without_root())
}

#[test]
fn ovl_104_to_106_an_upper_is_the_same_whoever_of_the_two_writes_it() {
    let test = "ovl_104_to_106_an_upper_is_the_same_whoever_of_the_two_writes_it";
    if !Medium::all().any(|medium| medium == Medium::Host) || !KernelMount::is_possible(test) {
        return;
    }
    let config = Config {
        metacopies: Metacopies::On,
        ..Config::default()
    };
    let stack = Stack::new().upper("").lower(LOWER).config(config);
    for writers in 0..16 {
        let mut reference = stack.mount(Medium::Host);
        let mut mixed = stack.mount(Medium::Host);
        for (at, step) in STEPS.iter().enumerate() {
            let by = if writers & (1 << at) == 0 {
                By::Mica
            } else {
                By::Kernel
            };
            do_step(&mut reference, By::Kernel, step);
            do_step(&mut mixed, by, step);
            let what = format!("writers {writers:04b}, step {at} by {by:?}");
            assert_same(&upper_of(&reference), &upper_of(&mixed), &what);
            let (mica, kernel) = shown(&mut mixed);
            assert_same(&kernel, &mica, &what);
        }
        reference.finish();
        mixed.finish();
    }
}
