//! Cases that the machine of a test cannot make: each is judged from what was found out about another one, made up here.

use std::fs;
use std::path::Path;

use mica_host::Features;
use mica_vfs::Errno;
use tempfile::TempDir;

use super::asked::Asked;
use super::finding::{Finding, Verdict};
use super::layers::{Facts, Layers, Looked, magic};
use super::machine::Machine;
use super::{kernel, mica};
use crate::mount::MountError;
use crate::options::for_filesystem;
use crate::stack::{LayerDir, Role, StackError};

fn machine(release: &str) -> Machine {
    Machine {
        release: release.to_owned(),
        admin: true,
        initial: true,
        overlayfs: Ok(()),
        parameters: Vec::new(),
    }
}

const ALL: Features = Features {
    d_type: true,
    xattr: true,
    whiteout: true,
    rename_whiteout: true,
    rename_exchange: true,
    tmpfile: true,
};

/// Judges a mount of three directories, of which `change` says what they are.
fn judged(machine: &Machine, more: &str, change: impl Fn(Role, &mut Facts)) -> Vec<Finding> {
    let dir = TempDir::new().unwrap();
    for name in ["l", "u", "w"] {
        fs::create_dir(dir.path().join(name)).unwrap();
    }
    let at = |name: &str| dir.path().join(name).display().to_string();
    let options = format!(
        "lowerdir={},upperdir={},workdir={}{more}",
        at("l"),
        at("u"),
        at("w")
    );
    let asked = Asked::of(&for_filesystem(&[options]).unwrap(), machine);
    let mut layers = Layers::look(&asked);
    let written = layers.upper.iter_mut().chain(&mut layers.work);
    for layer in written.chain(&mut layers.lowers) {
        let Looked::Open(facts) = &mut layer.looked else {
            panic!("{layer:?}");
        };
        facts.features = (layer.dir.role == Role::Work).then_some(ALL);
        facts.unmapped = false;
        facts.depth = 0;
        change(layer.dir.role, facts);
    }
    let mut found = kernel::judge(&asked, machine, &layers);
    found.extend(asked.findings);
    found
}

#[track_caller]
fn only(found: &[Finding], case: &str, verdict: Verdict, words: &str) {
    let [finding] = found else {
        panic!("{found:?}")
    };
    assert_eq!((finding.row.id, finding.verdict), (case, verdict));
    let said = finding.error.to_string();
    assert!(said.contains(words), "{said}");
    assert!(finding.hint.is_some(), "{case}");
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    assert!(judged(&machine("6.18.1"), "", |_, _| {}).is_empty());
}

#[test]
fn older_kernels_refuse_more() {
    let found = judged(&machine("6.12.3"), ",verity=on,metacopy=off", |_, _| {});
    only(&found, "verity-conflict", Verdict::Refuses, "Linux 6.12.3");
    assert!(judged(&machine("6.18.0"), ",verity=on,metacopy=off", |_, _| {}).is_empty());
    let casefold = |role, facts: &mut Facts| facts.casefold = role == Role::Lower;
    let found = judged(&machine("6.12.3"), "", casefold);
    only(&found, "casefold", Verdict::Refuses, "is casefolded");
    let in_namespace = Machine {
        initial: false,
        ..machine("5.10.0-rc1")
    };
    let found: Vec<_> = in_namespace.judge().into_iter().collect();
    only(&found, "old-user-namespace", Verdict::Refuses, "5.10.0-rc1");
}

#[test]
fn a_kernel_without_overlayfs() {
    let without = Machine {
        overlayfs: Err(Errno::NODEV),
        ..machine("6.18.0")
    };
    let found: Vec<_> = without.judge().into_iter().collect();
    only(&found, "no-overlayfs", Verdict::Refuses, "no overlayfs");
    assert!(machine("6.18.0").judge().is_none());
}

#[test]
fn filesystems_that_overlayfs_does_not_take() {
    let autofs = |role, facts: &mut Facts| {
        if role == Role::Lower {
            facts.magic = magic::AUTOFS;
        }
    };
    let found = judged(&machine("6.18.0"), "", autofs);
    only(&found, "not-supported", Verdict::Refuses, "does not take");
    let nfs = |role, facts: &mut Facts| {
        if role != Role::Lower {
            facts.magic = magic::NFS;
        }
    };
    let found = judged(&machine("6.18.0"), "", nfs);
    only(&found, "remote-upper", Verdict::Refuses, "NFS");
}

#[test]
fn uppers_that_lack_something() {
    let lacks = |features: Features| {
        move |role, facts: &mut Facts| {
            if role == Role::Work {
                facts.features = Some(features);
            }
        }
    };
    let without = Features {
        whiteout: false,
        ..ALL
    };
    let found = judged(&machine("6.18.0"), "", lacks(without));
    only(
        &found,
        "no-whiteout",
        Verdict::WorksWithLess,
        "takes no whiteouts",
    );
    let without = Features {
        tmpfile: false,
        ..ALL
    };
    let found = judged(&machine("6.18.0"), "", lacks(without));
    only(&found, "no-tmpfile", Verdict::WorksWithLess, "O_TMPFILE");
    let without = Features {
        xattr: false,
        ..ALL
    };
    let tmpfs = |role, facts: &mut Facts| {
        facts.magic = magic::TMPFS;
        lacks(without)(role, facts);
    };
    let found = judged(&machine("6.1.0"), ",userxattr", tmpfs);
    only(
        &found,
        "tmpfs-user-xattr",
        Verdict::WorksWithLess,
        "user.overlay.",
    );
}

#[test]
fn errors_of_a_mount_that_no_machine_here_gives() {
    let refused = mica_fuse::MountError::Refused {
        step: mica_fuse::MountStep::Create,
        message: String::new(),
        source: Errno::INVAL,
    };
    let kernel = mica_fuse::ProtocolVersion {
        major: 7,
        minor: 30,
    };
    let too_old = mica_fuse::MountError::KernelTooOld { kernel };
    for (error, case) in [(refused, "fuse-refused"), (too_old, "fuse-too-old")] {
        assert_eq!(mica::row_of_mount(&MountError::Fuse(error)).id, case);
    }
    let dir = LayerDir {
        role: Role::Upper,
        path: Path::new("/u").to_owned(),
    };
    let source = Errno::NOLCK;
    let other = StackError::Lock { dir, source };
    assert_eq!(mica::row_of_stack(&other).id, "other");
}
