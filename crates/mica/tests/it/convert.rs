//! `convert`: every form to every other one, interrupted at every point, and what cannot be said.

mod forms;
mod plain;
mod reading;
mod refused;
mod stopped;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mica::{ConvertError, ConvertSpec, Form, StackError, XattrNamespace, convert};
use mica_overlay::Redirects;
use mica_testkit::{Detail, KernelMount, assert_same, hash_tree};
use rustix::fs::{FileType, Mode, XattrFlags, lsetxattr, mknodat};
use tempfile::TempDir;

use reading::{View, view};

const FORMS: [Form; 4] = [Form::Device, Form::Xattr, Form::Named, Form::Old];

/// Leaves `test` out unless the kernel's overlayfs can be mounted.
fn possible(test: &str) -> bool {
    mica_testkit::require_root(test).is_ok() && KernelMount::is_possible(test)
}

/// One at a time: a program that another test starts has all descriptors until it runs, and so holds the locks of this one.
static ALONE: Mutex<()> = Mutex::new(());

/// Directories of one test: `l`, `u`, `w`.
struct Ground(
    TempDir,
    #[expect(dead_code, reason = "held")] MutexGuard<'static, ()>,
);

impl Ground {
    fn new() -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let ground = Self(TempDir::new().unwrap(), alone);
        for name in ["l", "u", "w"] {
            fs::create_dir(ground.at(name)).unwrap();
        }
        ground
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, data: &str) {
        fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        fs::write(self.at(name), data).unwrap();
    }

    fn mark(&self, name: &str, attribute: &str, value: &[u8]) {
        lsetxattr(self.at(name), attribute, value, XattrFlags::empty()).unwrap();
    }

    fn device(&self, name: &str) {
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        mknodat(rustix::fs::CWD, self.at(name), kind, mode, 0).unwrap();
    }

    /// Replaces directory `to` by a copy of `from`.
    fn copy(&self, from: &str, to: &str) {
        let script = format!("rm -rf {to} .{to}.mica-convert && cp -a {from} {to}");
        shell(self.0.path(), &script);
    }

    fn spec(&self, upper: &str, to: Form) -> ConvertSpec {
        ConvertSpec {
            upper: self.at(upper),
            to: Some(to),
            ..ConvertSpec::default()
        }
    }

    fn view(&self, upper: &str) -> View {
        view(&self.at(upper), &self.at("l"), "trusted")
    }
}

#[track_caller]
fn shell(dir: &Path, script: &str) {
    let mut shell = Command::new("sh");
    let status = shell.args(["-ec", script]).current_dir(dir).status();
    assert!(status.unwrap().success(), "{script}");
}

/// Lets a conversion run to its end.
fn run(spec: &ConvertSpec) -> Result<mica::Converted, ConvertError> {
    run_to(spec, u64::MAX)
}

/// Lets a conversion run until it has been at `last` points.
fn run_to(spec: &ConvertSpec, last: u64) -> Result<mica::Converted, ConvertError> {
    let limit = Instant::now() + Duration::from_secs(10);
    loop {
        let mut points = 0;
        let done = convert(spec, &mut |_| {
            points += 1;
            if points > last {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        match done {
            // A program that a test elsewhere is about to start holds the lock for a moment.
            Err(ConvertError::Stack(StackError::InUse { .. })) if Instant::now() < limit => {
                std::thread::yield_now();
            }
            done => return done,
        }
    }
}

/// Makes an upper that has something of everything.
fn used() -> Ground {
    let ground = Ground::new();
    for name in [
        "l/d/a",
        "l/d/b",
        "l/d/sub/x",
        "l/d/sub/y",
        "l/e/deep/er/f",
        "l/e/deep/g",
        "l/f",
        "l/g",
        "l/file-to-dir",
        "l/replaced/old",
        "l/replaced/sub/old",
        "l/quiet/only",
        "l/new\nline",
        "l/dir-to-file/x",
    ] {
        ground.write(name, name);
    }
    let long = "n".repeat(230);
    ground.write(&format!("l/{long}"), "long");
    for name in [
        "u/d",
        "u/d/sub",
        "u/e/deep",
        "u/replaced",
        "u/replaced/sub",
        "u/file-to-dir",
        "u/pure/in",
    ] {
        fs::create_dir_all(ground.at(name)).unwrap();
    }
    for name in ["u/d/a", "u/d/sub/x", "u/e/deep/er", "u/f", "u/new\nline"] {
        ground.device(name);
    }
    ground.device(&format!("u/{long}"));
    // As a mount does it: one inode for all.
    fs::hard_link(ground.at("u/f"), ground.at("u/quiet-gone")).unwrap();
    for name in ["u/replaced", "u/file-to-dir"] {
        ground.mark(name, "trusted.overlay.opaque", b"y");
    }
    ground.write("u/d/new", "new");
    ground.write("u/replaced/new", "new");
    ground.write("u/replaced/sub/new", "new");
    ground.write("u/file-to-dir/in", "in");
    ground.write("u/dir-to-file", "");
    ground.mark("u/d/new", "user.a", b"1");
    ground.mark("u/d/new", "trusted.overlay.origin", b"");
    ground.mark("u/d", "trusted.overlay.impure", b"y");
    symlink("../l/f", ground.at("u/d/link")).unwrap();
    symlink("/", ground.at("u/pure/root")).unwrap();
    fs::hard_link(ground.at("u/d/new"), ground.at("u/pure/in/same")).unwrap();
    chown(ground.at("u/pure"), Some(7), Some(8)).unwrap();
    let fifo = ground.at("u/pure/fifo");
    mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
    let sparse = fs::File::create(ground.at("u/pure/sparse")).unwrap();
    sparse.set_len(1 << 20).unwrap();
    sparse.write_at(b"end", (1 << 20) - 3).unwrap();
    let acl = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x02\0\x04\0\x09\0\0\0\x04\0\x05\0\xff\xff\xff\xff\x10\0\x05\0\xff\xff\xff\xff\x20\0\x05\0\xff\xff\xff\xff";
    ground.mark("u/pure/in", "system.posix_acl_access", acl);
    ground.mark("u/pure/in", "system.posix_acl_default", acl);
    let touch = "find u -depth -exec touch -h -d 2001-02-03T04:05:06.789 {} +";
    shell(ground.0.path(), touch);
    ground
}

/// Reads `upper` over the lower as the kernel merges the two, both as lowers: there the xattr form is read, too.
fn kernel_view(ground: &Ground, upper: &str) -> mica_testkit::Dump {
    shell(ground.0.path(), "rm -rf ku kw && mkdir ku kw");
    let lowers = [ground.at(upper), ground.at("l")];
    let (ku, kw) = (ground.at("ku"), ground.at("kw"));
    let mount = KernelMount::new(
        &lowers,
        &ku,
        &kw,
        XattrNamespace::Trusted,
        Redirects::NoFollow,
    )
    .unwrap();
    mount.dump(Detail::MTIME).without_root()
}

/// Checks that an upper has whiteouts of one form alone.
#[track_caller]
fn only(upper: &Path, form: Form) {
    let has = |args: &[&str]| {
        let mut find = Command::new("find");
        let found = find.arg(upper).args(args).output().unwrap();
        !found.stdout.is_empty()
    };
    let devices = has(&["-type", "c"]);
    let named = has(&["-name", ".wh.*"]);
    assert_eq!(
        (devices, named),
        (form == Form::Device, form == Form::Named),
        "{form}"
    );
}
