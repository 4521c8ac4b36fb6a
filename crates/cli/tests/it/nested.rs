//! OVL-130 to OVL-133: overlays on overlays, Mica's and the kernel's, all ways round.

use std::fs;
use std::process::Command;

use crate::ground::{Ground, Outcome, can_mount, ok, run};
use crate::layers::{FILL, USE, dump, expected, sh};

/// Who overlays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Driver {
    Mica,
    Kernel,
}

use Driver::{Kernel, Mica};

impl Driver {
    fn mount(self, ground: &Ground, options: &str, at: &str) -> Outcome {
        match self {
            Self::Mica => ground.run(&["mount", "-o", options, at]),
            Self::Kernel => {
                let mut mount = Command::new("mount");
                mount.args(["-t", "overlay", "overlay", "-o", options, at]);
                ground.shown(run(ground.here(&mut mount)))
            }
        }
    }

    #[track_caller]
    fn mounts(self, ground: &Ground, options: &str, at: &str) {
        assert_eq!(self.mount(ground, options, at), ok(), "{self:?} {options}");
    }

    #[track_caller]
    fn unmounts(self, ground: &Ground, at: &str) {
        match self {
            Self::Mica => assert_eq!(ground.run(&["umount", at]), ok()),
            Self::Kernel => assert_eq!(sh(ground, &format!("umount {at}")), ok()),
        }
    }
}

/// The options of an overlay whose upper lies on the overlay at `o`.
const ON_OUTER: &str = "lowerdir=l,upperdir=o/u,workdir=o/w";
const OUTER: &str = "lowerdir=ol,upperdir=ou,workdir=ow";

/// A ground with a lower, and an overlay of `outer` at `o` that has room for the upper of another.
fn over(outer: Driver) -> Ground {
    let ground = Ground::new();
    sh(&ground, &format!("mkdir o ol ou ow; cd l; {FILL}"));
    outer.mounts(&ground, OUTER, "o");
    sh(&ground, "mkdir o/u o/w");
    ground
}

#[test]
fn ovl_130_an_upper_on_a_mount_of_mica_is_one_on_a_directory() {
    if !can_mount("ovl_130_an_upper_on_a_mount_of_mica_is_one_on_a_directory") {
        return;
    }
    for namespace in ["", ",userxattr"] {
        for inner in [Mica, Kernel] {
            let ground = over(Mica);
            let options = format!("{ON_OUTER}{namespace}");
            inner.mounts(&ground, &options, "m");
            assert_eq!(sh(&ground, USE), expected(), "{inner:?}{namespace}");
            let view = dump(&ground, "m");
            // The same by the same, and by the other, before and after a remount of what it lies on.
            let mut last = inner;
            for again in [inner, Mica, Kernel] {
                std::mem::replace(&mut last, again).unmounts(&ground, "m");
                Mica.unmounts(&ground, "o");
                Mica.mounts(&ground, OUTER, "o");
                again.mounts(&ground, &options, "m");
                assert_eq!(
                    dump(&ground, "m"),
                    view,
                    "{inner:?}, then {again:?}{namespace}"
                );
            }
            Kernel.unmounts(&ground, "m");
            let devices = sh(&ground, "cd o/u; find . -type c -printf '%p %m\\n' | sort");
            assert_eq!(devices.stdout, "./gone 0\n./holes 0\n");
            Mica.unmounts(&ground, "o");
            let files = sh(&ground, "cd ou/u; find . -type f -size 0 | sort");
            assert_eq!(files.stdout, "./gone\n./holes\n");
            assert_eq!(
                sh(&ground, "find ou ! -type c | wc -l; find ou -type c").stderr,
                ""
            );
        }
    }
}

/// The kernel tells its own overlays and network filesystems from FUSE: an overlay keeps devices 0:0 for itself.
#[test]
fn ovl_84_the_kernels_overlay_takes_no_upper() {
    if !can_mount("ovl_84_the_kernels_overlay_takes_no_upper") {
        return;
    }
    let ground = over(Kernel);
    let refused = Mica.mount(&ground, ON_OUTER, "m");
    refused.assert_said("takes no whiteouts");
    let refused = Kernel.mount(&ground, ON_OUTER, "m");
    assert_eq!(refused.status, Some(32));
}

#[test]
fn ovl_130_layers_that_mica_wrote_hold_whiteouts_for_a_nested_overlay_of_the_kernel() {
    if !can_mount(
        "ovl_130_layers_that_mica_wrote_hold_whiteouts_for_a_nested_overlay_of_the_kernel",
    ) {
        return;
    }
    let ground = over(Mica);
    Mica.mounts(&ground, ON_OUTER, "m");
    sh(
        &ground,
        "cd m; rm gone; mv holes moved; rm -r d; mkdir d; touch d/new; rm f",
    );
    let list = "cd m; find . | sort; stat gone holes f 2>&1 | grep -c 'No such'";
    let seen = sh(&ground, list);
    Mica.unmounts(&ground, "m");
    Mica.unmounts(&ground, "o");
    // The kernel shows what Mica stored as files, and they are whiteouts of a lower of what lies on it.
    for outer in [Kernel, Mica] {
        outer.mounts(&ground, OUTER, "o");
        for inner in [Kernel, Mica] {
            inner.mounts(&ground, "lowerdir=o/u:l", "m");
            assert_eq!(sh(&ground, list), seen, "{inner:?} on {outer:?}");
            inner.unmounts(&ground, "m");
        }
        outer.unmounts(&ground, "o");
    }
}

#[test]
fn ovl_132_three_overlays_keep_their_marks_apart() {
    if !can_mount("ovl_132_three_overlays_keep_their_marks_apart") {
        return;
    }
    let ground = over(Mica);
    sh(&ground, "mkdir o2");
    Mica.mounts(&ground, "lowerdir=ol,upperdir=o/u,workdir=o/w", "o2");
    sh(&ground, "mkdir o2/u o2/w");
    let options = "lowerdir=l,upperdir=o2/u,workdir=o2/w";
    for inner in [Mica, Kernel] {
        inner.mounts(&ground, options, "m");
        assert_eq!(sh(&ground, USE), expected(), "{inner:?}");
        let view = dump(&ground, "m");
        inner.unmounts(&ground, "m");
        inner.mounts(&ground, options, "m");
        assert_eq!(dump(&ground, "m"), view, "{inner:?}");
        inner.unmounts(&ground, "m");
        let device = "stat -c '%F' o2/u/gone o/u/u/gone ou/u/u/gone";
        let expected = "character special file\nregular empty file\nregular empty file\n";
        assert_eq!(sh(&ground, device).stdout, expected);
        sh(&ground, "rm -r o2/u o2/w; mkdir o2/u o2/w");
    }
}

/// Capabilities and ACLs are no marks of an overlay.
#[test]
fn ovl_132_capabilities_and_acls_pass_through_two_overlays() {
    if !can_mount("ovl_132_capabilities_and_acls_pass_through_two_overlays") {
        return;
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let acl: Vec<u8> = [2u32.to_le_bytes().to_vec()]
        .into_iter()
        .chain(
            [
                (1u16, 7u16, u32::MAX),
                (2, 5, 77),
                (4, 5, u32::MAX),
                (0x10, 7, u32::MAX),
                (0x20, 0, u32::MAX),
            ]
            .map(|(tag, perm, id)| {
                [
                    &tag.to_le_bytes()[..],
                    &perm.to_le_bytes(),
                    &id.to_le_bytes(),
                ]
                .concat()
            }),
        )
        .flatten()
        .collect();
    let pairs = [
        ("security.capability", &capability[..]),
        ("system.posix_acl_access", &acl[..]),
    ];
    for inner in [Mica, Kernel] {
        let ground = over(Mica);
        inner.mounts(&ground, ON_OUTER, "m");
        fs::write(ground.at("m/own"), "").unwrap();
        for (name, value) in pairs {
            for file in ["m/own", "m/f"] {
                let file = ground.at(file);
                rustix::fs::setxattr(&file, name, value, rustix::fs::XattrFlags::empty()).unwrap();
            }
        }
        inner.unmounts(&ground, "m");
        inner.mounts(&ground, ON_OUTER, "m");
        for (name, value) in pairs {
            for file in ["m/own", "m/f", "o/u/own", "ou/u/f"] {
                let mut found = [0; 256];
                let len = rustix::fs::getxattr(ground.at(file), name, &mut found[..]).unwrap();
                assert_eq!(&found[..len], value, "{inner:?} {file} {name}");
            }
        }
    }
}
