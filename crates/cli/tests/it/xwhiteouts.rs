//! OVL-4 and OVL-6: whiteouts in the xattr form in layers at every place, beside the kernel's overlayfs.

use std::fs;

use rustix::fs::{XattrFlags, setxattr};

use crate::ground::{Ground, can_mount};
use crate::layers::sh;

const LAYERS: [&str; 4] = ["u", "l1", "l2", "l3"];

/// Makes four layers. Each has whiteouts of its own over names of all others, in its root, in `d`, in `d/only`, and in
/// directories that show nothing else; the directories of those in `marked` say that they may hold some.
fn fill(ground: &Ground, marked: u32) {
    for (n, layer) in LAYERS.iter().enumerate() {
        for dir in ["", "d", "d/only", "gone", "over"] {
            let at = ground.at(layer).join(dir);
            fs::create_dir_all(&at).unwrap();
            for (other, name) in LAYERS.iter().enumerate() {
                let whiteout = at.join(format!("w-{name}"));
                if other == n {
                    fs::write(&whiteout, "").unwrap();
                    let mark = "trusted.overlay.whiteout";
                    setxattr(&whiteout, mark, b"", XattrFlags::empty()).unwrap();
                } else if other < n || matches!(dir, "" | "d" | "d/only") {
                    // Below the whiteout, and in part above it.
                    fs::write(&whiteout, *layer).unwrap();
                }
            }
            if matches!(dir, "" | "d") {
                fs::write(at.join(format!("empty-{layer}")), "").unwrap();
            }
            if marked & 1 << n != 0 {
                setxattr(&at, "trusted.overlay.opaque", b"x", XattrFlags::empty()).unwrap();
            }
        }
    }
    // Above them nothing is in the way.
    for dir in ["gone", "over"] {
        for name in ["u", "l1"] {
            sh(ground, &format!("rm -f {name}/{dir}/w-*"));
        }
    }
}

const LOOK: &str = "for d in . d d/only gone over; do echo $d: $(ls -U $d | sort); \
                    for w in u l1 l2 l3; do stat -c '%n %s' $d/w-$w 2>&1; cat $d/w-$w 2>&1; done; done";
const CHANGE: &str = "for n in u l1 l2 l3; do rm d/w-$n; touch d/only/w-$n; mv d/empty-$n d/only/w-$n; done; \
                      mkdir new; rmdir gone; mv -T new over; rm d/only/*";
/// A name that is listed and not found, because a directory does not say what it holds, goes with its removal from a listing
/// that is in memory. The kernel reads the directory again.
const LOOK_AFTER: &str = "for d in . d d/only gone over; do for w in u l1 l2 l3; do stat -c '%n %s' $d/w-$w 2>&1; done; done";
/// The lowers that have one below them.
const HIDING: u32 = 0b0110;

#[test]
fn ovl_6_whiteouts_in_the_xattr_form_are_the_kernels_in_every_layer() {
    if !can_mount("ovl_6_whiteouts_in_the_xattr_form_are_the_kernels_in_every_layer") {
        return;
    }
    for marked in 0..1 << LAYERS.len() {
        let all = marked & HIDING == HIDING;
        let after = if all { LOOK } else { LOOK_AFTER };
        let [kernel, mica] =
            ["mount -t overlay overlay", env!("CARGO_BIN_EXE_mica")].map(|program| {
                let ground = Ground::new();
                sh(&ground, "mkdir l1 l2 l3");
                fill(&ground, marked);
                let mount = if program.starts_with("mount") {
                    program.to_owned()
                } else {
                    format!("{program} mount")
                };
                let layers = "lowerdir=l1:l2:l3,upperdir=u,workdir=w";
                // D-11: the kernel writes the `origin` of directories of the upper when it looks at them.
                let origins =
                    format!("mount -t overlay overlay -o {layers} m; find m > /dev/null; umount m");
                sh(&ground, &origins);
                let mounted = sh(&ground, &format!("{mount} -o {layers} m"));
                assert_eq!((mounted.status, mounted.stderr.as_str()), (Some(0), ""));
                let script =
                    format!("cd m; set +e; {LOOK}; ({CHANGE}) 2>&1; {after}; cd ..; umount m");
                sh(&ground, &script)
            });
        assert_eq!(kernel.status, Some(0), "{kernel:?}");
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            lines(&mica.stdout),
            lines(&kernel.stdout),
            "marked {marked:04b}"
        );
    }
}
