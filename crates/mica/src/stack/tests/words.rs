//! The words of refusals that no directory here leads to.

use mica_overlay::SetupError;

use super::*;
use mica_vfs::Errno;

fn dir(role: Role, path: &str) -> LayerDir {
    LayerDir {
        role,
        path: path.into(),
    }
}

#[track_caller]
fn says(error: &StackError, message: &str, hint: Option<&str>) {
    assert_eq!(error.to_string(), message);
    assert_eq!(error.hint().as_deref(), hint);
}

#[test]
fn a_directory_that_cannot_be_locked() {
    says(
        &StackError::Lock {
            dir: dir(Role::Upper, "/u"),
            source: Errno::NOLCK,
        },
        "upperdir `/u` cannot be locked",
        Some(
            "choose an upperdir and a workdir on a local filesystem (`findmnt --real` lists them)",
        ),
    );
}

#[test]
fn a_filesystem_that_cannot_be_probed() {
    says(
        &StackError::Probe {
            work: dir(Role::Work, "/w"),
            source: Errno::ACCESS,
        },
        "the filesystem of workdir `/w` cannot be probed",
        Some("see who may write there with `namei -l /w`"),
    );
}

#[test]
fn a_directory_that_fails_to_open() {
    let open = |source| StackError::Open {
        dir: dir(Role::Lower, "/l"),
        source,
    };
    for (source, hint) in [
        (
            Errno::NOTCONN,
            Some(
                "a FUSE server that is gone left its mount here; remove it with `fusermount3 -u /l`",
            ),
        ),
        (
            Errno::MFILE,
            Some("raise the limit of open files with `ulimit -n`"),
        ),
        (Errno::IO, None),
    ] {
        says(&open(source), "lowerdir `/l` cannot be opened", hint);
    }
}

#[test]
fn a_work_directory_that_cannot_be_prepared() {
    let error = SetupError::Work {
        action: "empty",
        name: "work".into(),
        source: Errno::PERM,
    };
    says(
        &StackError::Overlay(error),
        "cannot prepare the work directory: empty `work`",
        Some("a workdir is an empty directory that this user may write to; name a new one"),
    );
}

#[test]
fn a_layer_whose_root_fails() {
    let error = SetupError::Root {
        label: "/l".into(),
        source: Errno::IO,
    };
    says(
        &StackError::Overlay(error),
        "cannot read the root of layer `/l`",
        None,
    );
}
