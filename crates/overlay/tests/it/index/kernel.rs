//! OVL-93, OVL-111 and OVL-112 against the kernel: each makes the same index, and goes on with the other's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use mica_overlay::{Config, Index, Metacopies, Redirects, Xino};
use mica_testkit::{Detail, Medium, Mounted, Object, Stack, dump};
use mica_vfs::Errno;

use super::stack;
use crate::kernel::is_possible;

/// What one side does to the mount at a path.
type Deed = (&'static str, fn(&Path));

const DEEDS: &[Deed] = &[
    ("look", |m| {
        assert_eq!(fs::read_dir(m.join("d")).unwrap().count(), 2)
    }),
    ("write to a", |m| fs::write(m.join("a"), "22").unwrap()),
    ("chmod d/c", |m| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(m.join("d/c"), mode).unwrap();
    }),
    ("unlink b", |m| fs::remove_file(m.join("b")).unwrap()),
    ("link", |m| fs::hard_link(m.join("a"), m.join("n")).unwrap()),
    ("rename", |m| {
        fs::rename(m.join("a"), m.join("d/z")).unwrap()
    }),
    ("rename over", |m| {
        fs::rename(m.join("o"), m.join("n")).unwrap()
    }),
    ("unlink two", |m| {
        fs::remove_file(m.join("d/c")).unwrap();
        fs::remove_file(m.join("d/z")).unwrap();
    }),
    ("unlink the last", |m| {
        fs::remove_file(m.join("d/e/x")).unwrap()
    }),
];

/// Leaves the handle in an `origin` out: those of two runs differ, their lengths and places do not.
fn without_handle(object: &mut Object) {
    if let Some(origin) = object.xattrs.get_mut("trusted.overlay.origin") {
        *origin = format!("{} bytes", origin.len()).into_bytes();
    }
}

/// What an upper and its index hold, with the numbers of this filesystem left out.
fn on_disk(mounted: &Mounted) -> Vec<String> {
    let mut upper = mounted.dump_upper(Detail::NLINK | Detail::LINKS);
    for (path, object) in &mut upper.0 {
        without_handle(object);
        // Each overlay has its own; and the kernel marks merged directories when it looks them up.
        object.xattrs.remove("trusted.overlay.uuid");
        if path.is_empty() {
            object.xattrs.remove("trusted.overlay.impure");
        }
        // All whiteouts of a mount are one inode.
        if object.rdev.is_some() {
            (object.nlink, object.same_as) = (None, None);
        }
    }
    let index = dump(
        &*mounted.upper().unwrap().layer.fs,
        mounted.upper().unwrap().work,
        Detail::NLINK,
    );
    let entries = index
        .0
        .into_iter()
        .filter(|(path, _)| path.starts_with("index/") && !path.contains('#'));
    let entries = entries.map(|(path, mut object)| {
        without_handle(&mut object);
        // An entry is called by the handle.
        format!("index/{} digits {object}", path.len() - "index/".len())
    });
    let upper = upper.0.iter();
    let upper = upper.map(|(path, object)| format!("/{path} {object}"));
    upper.chain(entries).collect()
}

fn shown(mounted: &Mounted, root: &Path) -> Vec<String> {
    let names = ["a", "b", "n", "d/c", "d/e/x", "d/z"];
    let of = |name: &&str| {
        let stat = fs::metadata(root.join(name)).ok()?;
        let text = fs::read_to_string(root.join(name)).unwrap();
        Some(format!("{name} {} {} {text:?}", stat.ino(), stat.nlink()))
    };
    let _ = mounted;
    names.iter().filter_map(of).collect()
}

/// Does to the overlay what `deed` does to a path: the overlay is no mount, so the words are walked.
fn walked(mounted: &Mounted, deed: &str) {
    let walk = mounted.walk();
    match deed {
        "look" => drop(walk.ls("d").unwrap()),
        "write to a" => {
            walk.truncate("a", 0).unwrap();
            walk.write_at("a", 0, b"22").unwrap();
        }
        "chmod d/c" => walk.chmod("d/c", 0o600).unwrap(),
        "unlink b" => walk.unlink("b").unwrap(),
        "link" => walk.link("a", "n").unwrap(),
        "rename" => walk.rename("a", "d/z").unwrap(),
        "rename over" => walk.rename("o", "n").unwrap(),
        "unlink two" => {
            walk.unlink("d/c").unwrap();
            walk.unlink("d/z").unwrap();
        }
        "unlink the last" => walk.unlink("d/e/x").unwrap(),
        other => panic!("{other}"),
    }
}

fn shown_by_mica(mounted: &Mounted) -> Vec<String> {
    let names = ["a", "b", "n", "d/c", "d/e/x", "d/z"];
    let of = |name: &&str| {
        let attr = mounted.walk().stat(name).ok()?;
        let text = mounted.walk().read_text(name).unwrap();
        Some(format!("{name} {} {} {text:?}", attr.ino.0, attr.nlink))
    };
    names.iter().filter_map(of).collect()
}

/// Runs all deeds, each by the kernel or by Mica, with a new mount for each; returns what stood on disk after each.
fn run(test: &str, by_kernel: impl Fn(usize) -> bool) -> Option<Vec<Vec<String>>> {
    if !is_possible(test) {
        return None;
    }
    let mut mounted = stack().mount(Medium::Host);
    let mut states = Vec::new();
    for (at, (name, deed)) in DEEDS.iter().enumerate() {
        mounted.unmount();
        if by_kernel(at) {
            let kernel = mounted.mount_by_kernel().unwrap();
            deed(&kernel.path());
        } else {
            mounted.remount();
            walked(&mounted, name);
            mounted.unmount();
        }
        let kernel = mounted.mount_by_kernel().unwrap();
        let by_kernel = shown(&mounted, &kernel.path());
        drop(kernel);
        mounted.remount();
        assert_eq!(by_kernel, shown_by_mica(&mounted), "after {name}");
        mounted.unmount();
        states.push(on_disk(&mounted));
    }
    mounted.remount();
    mounted.finish();
    Some(states)
}

#[test]
fn ovl_111_ovl_112_an_index_is_what_the_kernel_makes_and_each_goes_on_with_the_others() {
    let test = "ovl_111_ovl_112_an_index_is_what_the_kernel_makes_and_each_goes_on_with_the_others";
    let Some(kernel) = run(test, |_| true) else {
        return;
    };
    for (who, turns) in [
        ("Mica", &(|_| false) as &dyn Fn(usize) -> bool),
        ("both in turn", &|at| at % 2 == 0),
        ("both, the other way round", &|at| at % 2 == 1),
    ] {
        let found = run(test, turns).unwrap();
        for (at, (expected, found)) in kernel.iter().zip(&found).enumerate() {
            assert_eq!(expected, found, "{who}, after {}", DEEDS[at].0);
        }
    }
}

#[test]
fn ovl_93_whoever_relies_on_its_lowers_marks_new_directories() {
    let plain = Config {
        redirects: Redirects::NoFollow,
        ..Config::default()
    };
    let index = Config {
        index: Index::On,
        ..plain.clone()
    };
    for (asked, expected) in [
        (plain.clone(), Err(Errno::NODATA)),
        (index, Ok(b"y".to_vec())),
        (
            Config {
                xino: Xino::On,
                ..plain.clone()
            },
            Ok(b"y".to_vec()),
        ),
        (
            Config {
                metacopies: Metacopies::On,
                ..plain
            },
            Ok(b"y".to_vec()),
        ),
    ] {
        for medium in Medium::all() {
            let stack = Stack::new()
                .upper("")
                .lower("d/f='1'")
                .config(asked.clone());
            let mounted = stack.mount(medium);
            mounted.walk().mkdir("d/new").unwrap();
            mounted.walk().mkdir("d/new/inner").unwrap();
            let mark = |path| {
                mounted
                    .walk_upper()
                    .getxattr(path, "trusted.overlay.opaque")
            };
            assert_eq!(mark("d/new"), expected);
            assert_eq!(mark("d/new/inner"), Err(Errno::NODATA));
            mounted.finish();
        }
    }
}
