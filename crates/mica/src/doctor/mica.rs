//! What Mica would do with a mount: all that `mica mount` does, but for the mount.

use std::ffi::OsStr;

use mica_overlay::{Metacopies, Redirects, SetupError, XattrNamespace};
use mica_vfs::Errno;
use rustix::process::Resource;

use super::asked::row_of;
use super::finding::Finding;
use super::marks::{self, Digests, Follows};
use super::rows::{self, Row};
use crate::mount::{self, MountError};
use crate::options::{Manner, MountSpec, Request};
use crate::stack::{LayerDir, Role, Stack, StackError, StackWarning};

/// Fewer open files than these, and the server opens its layers again and again.
const FILES_ENOUGH: u64 = 512;

/// Says why Mica would not mount, or what it would do without.
pub(super) fn judge<S: AsRef<OsStr>>(options: &[S], path: &OsStr) -> Vec<Finding> {
    let spec = match Request::parse(options, Manner::Mica) {
        Ok(Request::Mount(spec)) => spec,
        // A remount changes a mount that is there.
        Ok(Request::Remount(_)) => return judge_machine(path),
        Err(error) => {
            let hint = error.hint();
            let mut found = vec![Finding::refused(row_of(&error), error, hint)];
            found.extend(judge_machine(path));
            return found;
        }
    };
    let mut found = Vec::new();
    match Stack::examine(&spec.stack) {
        Ok(warnings) => found.extend(warnings.into_iter().map(warned)),
        Err(error) => found.push(refused(error)),
    }
    found.extend(marks::judge(&layers(&spec), follows(&spec)));
    found.extend(alone(&spec));
    found.extend(judge_mount(&spec, path));
    found
}

/// Says why Mica could mount nothing here.
pub(super) fn judge_machine(path: &OsStr) -> Vec<Finding> {
    match MountSpec::parse(["lowerdir=/"]) {
        Ok(spec) => judge_mount(&spec, path),
        Err(_) => Vec::new(),
    }
}

fn judge_mount(spec: &MountSpec, path: &OsStr) -> Vec<Finding> {
    let mut found = Vec::new();
    if let Err(error) = mount::examine(spec, path) {
        let hint = error.hint(std::path::Path::new("MOUNTPOINT"));
        found.push(Finding::refused(row_of_mount(&error), error, hint));
    }
    let files = rustix::process::getrlimit(Resource::Nofile).maximum;
    if let Some(files) = files
        && files < FILES_ENOUGH
    {
        found.push(Finding::told(
            &rows::FEW_FILES,
            format!("this process may have {files} files open, and no more: files of the layers are opened again and again"),
            "have the administrator raise the hard limit (`ulimit -H -n`, /etc/security/limits.conf, or `LimitNOFILE=` of the service)",
        ));
    }
    found
}

/// Returns the layers, topmost first.
fn layers(spec: &MountSpec) -> Vec<LayerDir> {
    let dir = |role, path: &std::path::PathBuf| LayerDir {
        role,
        path: path.clone(),
    };
    let upper = spec.stack.upper.iter();
    let upper = upper.map(|upper| dir(Role::Upper, &upper.dir));
    let lowers = spec.stack.lower.iter();
    let data = spec.stack.data.iter();
    upper
        .chain(lowers.map(|lower| dir(Role::Lower, lower)))
        .chain(data.map(|data| dir(Role::Data, data)))
        .collect()
}

/// What the mount follows.
fn follows(spec: &MountSpec) -> Follows {
    let xattrs = spec.stack.xattrs;
    Follows {
        userxattr: xattrs == XattrNamespace::User,
        redirects: spec.stack.redirects.in_xattrs(xattrs) != Redirects::NoFollow,
        metacopy: spec.stack.metacopies == Metacopies::On,
        digests: Digests::Ignored,
    }
}

/// Says that an upper will be read by Mica alone: the kernel follows no redirects that a user could have written.
fn alone(spec: &MountSpec) -> Option<Finding> {
    let writes = spec.stack.redirects.in_xattrs(spec.stack.xattrs) == Redirects::On;
    let unread = spec.stack.xattrs == XattrNamespace::User && writes && spec.stack.upper.is_some();
    unread.then(|| {
        Finding::noted(
            &rows::USERXATTR_CONFLICT,
            "a directory of a lower that is renamed is found by Mica alone: the kernel follows no redirects with `userxattr`"
                .into(),
            "before the kernel mounts the upper, run `mica convert --no-redirects` on it; or leave `redirect_dir=on` out",
        )
    })
}

fn refused(error: StackError) -> Finding {
    let hint = error.hint();
    Finding::refused(row_of_stack(&error), error, hint)
}

fn warned(warning: StackWarning) -> Finding {
    let row = match &warning {
        StackWarning::LowerInUse { .. } => &rows::LOWER_IN_USE,
        StackWarning::MaybeInUse { .. } => &rows::IN_USE,
        StackWarning::StrayMark { .. } | StackWarning::DoubtfulMark { .. } => &rows::FOREIGN,
    };
    let hint = warning.hint();
    Finding::less(row, warning, hint)
}

/// Tells which case an error of the layers is.
pub(super) fn row_of_stack(error: &StackError) -> &'static Row {
    match error {
        StackError::Missing { .. } => &rows::MISSING,
        StackError::NotDirectory { .. } => &rows::NOT_DIRECTORY,
        StackError::Open {
            source: Errno::MFILE | Errno::NFILE,
            ..
        } => &rows::FEW_FILES,
        StackError::Open { .. } | StackError::NotWritable { .. } => &rows::CLOSED,
        StackError::ReadOnly { .. } => &rows::UPPER_READ_ONLY,
        StackError::Same { first, second } => match (first.role, second.role) {
            (Role::Upper, Role::Work) => &rows::WORK_NESTED,
            _ => &rows::SAME,
        },
        StackError::Inside { inner, outer } => match (inner.role, outer.role) {
            (Role::Lower | Role::Data, _) => &rows::LOWER_INSIDE,
            (_, Role::Lower | Role::Data) => &rows::INSIDE_LOWER,
            _ => &rows::WORK_NESTED,
        },
        StackError::Apart { .. } => &rows::WORK_APART,
        StackError::InUse { .. } => &rows::IN_USE,
        StackError::Trusted => &rows::TRUSTED_XATTRS,
        StackError::NoXattr { .. } | StackError::NoOwnerXattr { .. } => &rows::NO_XATTR,
        StackError::NoDirentType { .. } => &rows::NO_D_TYPE,
        StackError::NoWhiteout { .. } => &rows::NO_WHITEOUT,
        StackError::Casefold { .. } => &rows::CASEFOLD,
        StackError::Foreign { .. } => &rows::FOREIGN,
        StackError::Index { .. } => &rows::INDEX_LEFT,
        StackError::Incompatible { .. } => &rows::INCOMPATIBLE,
        StackError::Overlay(error) => match error {
            SetupError::Work { .. } => &rows::WORK_KEPT,
            SetupError::NoHandles {
                source: Errno::PERM | Errno::ACCESS,
                ..
            } => &rows::INDEX_DROPPED,
            SetupError::NoHandles { .. } => &rows::NO_HANDLES,
            SetupError::SameUuid { .. } => &rows::SAME_UUID,
            SetupError::OtherLower { .. } => &rows::OTHER_LOWER,
            SetupError::OtherUpper { .. } => &rows::STALE_INDEX,
            _ => &rows::OTHER,
        },
        _ => &rows::OTHER,
    }
}

/// Tells which case an error of the mount is.
pub(super) fn row_of_mount(error: &MountError) -> &'static Row {
    use mica_fuse::MountError as Fuse;
    match error {
        MountError::AllowRoot => &rows::ALLOW_ROOT,
        MountError::NoEffect { .. } | MountError::NoSelinux { .. } => &rows::NO_EFFECT,
        MountError::Fuse(error) => match error {
            Fuse::DeviceMissing => &rows::FUSE_MISSING,
            Fuse::Device { .. } => &rows::FUSE_CLOSED,
            Fuse::HelperMissing { .. } => &rows::HELPER_MISSING,
            Fuse::Helper { message, .. } if message.contains("user_allow_other") => {
                &rows::NOT_FOR_OTHERS
            }
            Fuse::Helper { message, .. } if message.contains("/dev/fuse") => &rows::FUSE_CLOSED,
            Fuse::Helper { .. } => &rows::HELPER_POWERLESS,
            Fuse::KernelTooOld { .. } => &rows::FUSE_TOO_OLD,
            _ => &rows::FUSE_REFUSED,
        },
        _ => &rows::OTHER,
    }
}
