//! How deep the kernel's overlayfs stacks where mounts of Mica lie between.

use mica_testkit::KernelMount;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::doctor_rows::{Said, in_place};
use crate::ground::{Ground, can_mount};

/// Mounts of the kernel's overlayfs, which end with it, the last one first.
struct Overlays<'a> {
    ground: &'a Ground,
    made: Vec<&'static str>,
}

impl Overlays<'_> {
    /// Mounts the directory `lower` over `l` at `at`.
    fn mount(&mut self, lower: &str, at: &'static str) -> rustix::io::Result<()> {
        std::fs::create_dir_all(self.ground.at(at)).unwrap();
        let options = in_place(&format!("lowerdir=$/{lower}:$/l"), self.ground);
        let options = std::ffi::CString::new(options).unwrap();
        mount(
            "o",
            self.ground.at(at),
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )?;
        self.made.push(at);
        Ok(())
    }
}

impl Drop for Overlays<'_> {
    fn drop(&mut self) {
        for at in self.made.iter().rev() {
            unmount(self.ground.at(at), UnmountFlags::DETACH).unwrap();
        }
    }
}

/// Whether doctor takes a mount over `lower` for too deep.
fn is_too_deep(ground: &Ground, lower: &str) -> bool {
    let options = in_place(&format!("lowerdir=$/{lower}:$/l"), ground);
    let said = ground.run(&["doctor", "--json", "-o", &options]);
    Said::read(&said.stdout, "kernel").names("too-deep")
}

#[test]
fn a_mount_of_mica_counts_as_no_layer_and_overlays_begin_anew_on_it() {
    let test = "a_mount_of_mica_counts_as_no_layer_and_overlays_begin_anew_on_it";
    if !can_mount(test) || !KernelMount::is_possible(test) {
        return;
    }
    let ground = Ground::alone();
    std::fs::create_dir(ground.at("l2")).unwrap();
    std::fs::write(ground.at("l2/f"), "deep").unwrap();
    let mut below = Overlays {
        ground: &ground,
        made: Vec::new(),
    };
    below.mount("l2", "o1").unwrap();
    below.mount("o1", "o2").unwrap();
    assert!(is_too_deep(&ground, "o2"));
    assert_eq!(below.mount("o2", "o3"), Err(rustix::io::Errno::INVAL));

    let options = "lowerdir=o2,upperdir=u,workdir=w";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]).status, Some(0));
    let mut above = Overlays {
        ground: &ground,
        made: Vec::new(),
    };
    for (lower, at) in [("m", "o4"), ("o4", "o5")] {
        assert!(!is_too_deep(&ground, lower), "{lower}");
        above.mount(lower, at).unwrap();
    }
    assert_eq!(std::fs::read_to_string(ground.at("o5/f")).unwrap(), "deep");
    assert!(is_too_deep(&ground, "o5"));
    assert_eq!(above.mount("o5", "o6"), Err(rustix::io::Errno::INVAL));
    drop(above);
    ground.unmount("m");
}
