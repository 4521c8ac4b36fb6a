//! `convert`: every form to every other one, interrupted at every point, and what cannot be said.

mod plain;
mod reading;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mica::{
    CheckSpec, ConvertError, ConvertSpec, Form, Stack, StackError, StackSpec, Unsayable, UpperSpec,
    XattrNamespace, check, convert,
};
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

#[test]
fn ovl_151_every_form_becomes_every_other_one_and_shows_the_same_tree() {
    let test = "ovl_151_every_form_becomes_every_other_one_and_shows_the_same_tree";
    if !possible(test) {
        return;
    }
    let ground = used();
    let (lower, expected) = (hash_tree(&ground.at("l")), ground.view("u"));
    let kernel = kernel_view(&ground, "u");
    for from in FORMS {
        ground.copy("u", "from");
        run(&ground.spec("from", from)).unwrap();
        assert_eq!(ground.view("from"), expected, "{from}");
        only(&ground.at("from"), from);
        for to in FORMS {
            let what = format!("{from} to {to}");
            ground.copy("from", "there");
            run(&ground.spec("there", to)).unwrap();
            let mut anew = ground.spec("from", to);
            shell(ground.0.path(), "rm -rf anew");
            anew.output = Some(ground.at("anew"));
            run(&anew).unwrap();
            for upper in ["there", "anew"] {
                assert_eq!(ground.view(upper), expected, "{what}, {upper}");
                only(&ground.at(upper), to);
                assert!(!ground.at(&format!(".{upper}.mica-convert")).exists());
                if matches!(to, Form::Device | Form::Xattr) {
                    assert_same(&kernel, &kernel_view(&ground, upper), &what);
                }
                let again = run(&ground.spec(upper, to)).unwrap();
                assert_eq!(again.steps, 0, "{what}, {upper}");
            }
        }
    }
    assert_eq!(hash_tree(&ground.at("l")), lower);
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

#[test]
fn a_whiteout_in_an_opaque_directory_goes_where_it_would_be_listed() {
    if !possible("a_whiteout_in_an_opaque_directory_goes_where_it_would_be_listed") {
        return;
    }
    let ground = used();
    ground.device("u/replaced/gone");
    let expected = ground.view("u");
    run(&ground.spec("u", Form::Xattr)).unwrap();
    assert_eq!(ground.view("u"), expected);
    assert!(!ground.at("u/replaced/gone").exists());
    kernel_view(&ground, "u");
}

#[test]
fn ovl_152_a_conversion_that_is_stopped_anywhere_is_gone_on_with() {
    let test = "ovl_152_a_conversion_that_is_stopped_anywhere_is_gone_on_with";
    if !possible(test) {
        return;
    }
    let ground = used();
    let expected = ground.view("u");
    for (from, to) in [
        (Form::Device, Form::Named),
        (Form::Named, Form::Xattr),
        (Form::Xattr, Form::Old),
        (Form::Old, Form::Device),
    ] {
        ground.copy("u", "from");
        run(&ground.spec("from", from)).unwrap();
        for output in [None, Some(ground.at("anew"))] {
            let mut points = 0;
            while stopped_at(&ground, (from, to), output.as_deref(), points) {
                points += 1;
            }
            assert!(points > 20, "{from} to {to}: {points} points");
            assert_eq!(ground.view("from"), expected, "the source changed");
        }
    }
}

/// Stops a conversion at its `nth` point, goes on with it and compares; returns whether it has so many points.
fn stopped_at(ground: &Ground, (from, to): (Form, Form), output: Option<&Path>, nth: u64) -> bool {
    ground.copy("from", "there");
    shell(ground.0.path(), "rm -rf anew .anew.mica-convert");
    let (upper, result) = if output.is_some() {
        ("from", "anew")
    } else {
        ("there", "there")
    };
    let mut spec = ground.spec(upper, to);
    spec.output = output.map(Path::to_owned);
    let what = format!("{from} to {to}, stopped at {nth}");
    let done = run_to(&spec, nth);
    match done {
        Ok(_) => return false,
        Err(ConvertError::Stopped) => {}
        Err(error) => panic!("{what}: {error}"),
    }
    let is_marked =
        rustix::fs::lgetxattr(ground.at(result), "trusted.mica.convert", &mut [0; 256]).is_ok();
    let opened = open(ground, result);
    assert_eq!(
        matches!(opened, Err(StackError::HalfConverted { .. })),
        is_marked,
        "{what}: {opened:?}"
    );
    if is_marked {
        let mut other = spec.clone();
        other.prefix = Some(XattrNamespace::User);
        assert!(
            matches!(
                run(&other),
                Err(ConvertError::Other { .. } | ConvertError::Unsayable { .. })
            ),
            "{what}"
        );
    }
    let ended = run(&spec)
        .unwrap_or_else(|error| panic!("{what}: {error}: {:?}", std::error::Error::source(&error)));
    assert!(ended.resumed || !is_marked, "{what}");
    // The source of a copy is as it was; in place another form may have been reached before the mark went.
    assert_eq!(ground.view(result), ground.view("from"), "{what}");
    only(&ground.at(result), to);
    assert!(
        !ground.at(&format!(".{result}.mica-convert")).exists(),
        "{what}"
    );
    true
}

fn open(ground: &Ground, upper: &str) -> Result<(), StackError> {
    Stack::open(&StackSpec {
        lower: vec![ground.at("l")],
        data: Vec::new(),
        redirects: mica::RedirectDir::default(),
        metacopies: mica::Metacopies::default(),
        index: mica::Index::default(),
        xino: mica::Xino::default(),
        uuid: mica::OverlayUuid::Null,
        upper: Some(UpperSpec {
            dir: ground.at(upper),
            work: ground.at("w"),
        }),
        xattrs: XattrNamespace::Trusted,
        coherence: mica::Coherence::Exclusive,
        durability: mica::Durability::Auto,
        identity: mica::Identity::default(),
    })
    .map(drop)
}

#[test]
fn a_work_directory_keeps_the_journal_and_the_kernel_refuses_it_meanwhile() {
    let test = "a_work_directory_keeps_the_journal_and_the_kernel_refuses_it_meanwhile";
    if !possible(test) {
        return;
    }
    let ground = used();
    let mut spec = ground.spec("u", Form::Xattr);
    spec.work = Some(ground.at("w"));
    let expected = ground.view("u");
    let stopped = run_to(&spec, 6);
    assert!(matches!(stopped, Err(ConvertError::Stopped)));
    let lowers = [ground.at("l")];
    let (upper, work) = (ground.at("u"), ground.at("w"));
    let refused = KernelMount::new(
        &lowers,
        &upper,
        &work,
        XattrNamespace::Trusted,
        Redirects::NoFollow,
    );
    assert_eq!(refused.unwrap_err().raw_os_error(), Some(22));
    let found = check(
        &CheckSpec {
            upper: upper.clone(),
            work: Some(work.clone()),
            ..CheckSpec::default()
        },
        &mut |_| {},
    )
    .unwrap();
    let kinds: Vec<_> = found
        .findings
        .iter()
        .map(|finding| finding.trouble.code())
        .collect();
    assert!(
        kinds.contains(&"half-converted") && kinds.contains(&"incompatible"),
        "{kinds:?}"
    );
    // Without the work directory there is no journal.
    let elsewhere = ground.spec("u", Form::Xattr);
    assert!(matches!(
        run(&elsewhere),
        Err(ConvertError::NoJournal { .. })
    ));
    assert!(run(&spec).unwrap().resumed);
    assert_eq!(ground.view("u"), expected);
    assert!(!ground.at("w/work/incompat").exists());
}

#[test]
fn ovl_153_marks_change_their_prefix_and_the_kernel_reads_them_there() {
    let test = "ovl_153_marks_change_their_prefix_and_the_kernel_reads_them_there";
    if !possible(test) {
        return;
    }
    let ground = used();
    let expected = ground.view("u");
    let trusted = kernel_view(&ground, "u");
    ground.copy("u", "there");
    let mut spec = ground.spec("there", Form::Xattr);
    spec.prefix = Some(XattrNamespace::User);
    run(&spec).unwrap();
    assert_eq!(view(&ground.at("there"), &ground.at("l"), "user"), expected);
    shell(ground.0.path(), "rm -rf ku kw && mkdir ku kw");
    let (lowers, ku, kw) = (
        [ground.at("there"), ground.at("l")],
        ground.at("ku"),
        ground.at("kw"),
    );
    let mount =
        KernelMount::new(&lowers, &ku, &kw, XattrNamespace::User, Redirects::NoFollow).unwrap();
    assert_same(&trusted, &mount.dump(Detail::MTIME).without_root(), "user");
    drop(mount);
    let mut back = ground.spec("there", Form::Device);
    back.prefix = Some(XattrNamespace::Trusted);
    run(&back).unwrap();
    assert_eq!(ground.view("there"), expected);
    assert_same(&trusted, &kernel_view(&ground, "there"), "back");
}

#[test]
fn ovl_154_what_a_form_cannot_say_is_refused_by_name_before_anything_is_touched() {
    let test = "ovl_154_what_a_form_cannot_say_is_refused_by_name_before_anything_is_touched";
    if !possible(test) {
        return;
    }
    type Case = (
        fn(&Ground),
        Form,
        Option<XattrNamespace>,
        &'static str,
        Unsayable,
    );
    let user = Some(XattrNamespace::User);
    let escaped = b"trusted.overlay.overlay.opaque".to_vec();
    let others = b"user.overlay.opaque".to_vec();
    let cases: [Case; 9] = [
        (
            |g| g.write("u/d/.wh.file", "data"),
            Form::Named,
            None,
            "/d/.wh.file",
            Unsayable::NameIsMark(Form::Named),
        ),
        (
            |g| g.device("u/d/.wh.gone"),
            Form::Named,
            None,
            "/d/.wh.gone",
            Unsayable::NameIsMark(Form::Named),
        ),
        (
            |g| g.write("u/d/.wh.empty", ""),
            Form::Xattr,
            None,
            "/d/.wh.empty",
            Unsayable::Mixed,
        ),
        (
            |g| g.device(&format!("u/{}", "x".repeat(252))),
            Form::Named,
            None,
            "",
            Unsayable::NameTooLong(Form::Named),
        ),
        (
            |g| g.device(&format!("u/{}", "x".repeat(231))),
            Form::Old,
            None,
            "",
            Unsayable::NameTooLong(Form::Old),
        ),
        (
            |g| g.mark("u/d", "trusted.overlay.redirect", b"x"),
            Form::Named,
            None,
            "/d",
            Unsayable::Redirect,
        ),
        (
            |g| g.mark("u/d", "trusted.overlay.overlay.opaque", b"y"),
            Form::Device,
            user,
            "/d",
            Unsayable::Escaped {
                name: escaped.clone(),
            },
        ),
        (
            |g| {
                g.mark("u/d", "trusted.overlay.impure", b"y");
                g.mark("u/d", "user.overlay.opaque", b"y");
            },
            Form::Device,
            user,
            "/d",
            Unsayable::OtherPrefix {
                name: others.clone(),
            },
        ),
        (
            |g| (0..400).for_each(|n| g.device(&format!("u/d/{n:0200}"))),
            Form::Old,
            None,
            "/d",
            Unsayable::NoRoom,
        ),
    ];
    // The cases are functions, so that each can be made anew.
    for (make, to, prefix, path, wanted) in cases {
        let ground = Ground::new();
        ground.write("u/d/f", "f");
        ground.device("u/d/w");
        make(&ground);
        let before = hash_tree(&ground.at("u"));
        for output in [None, Some(ground.at("anew"))] {
            let mut spec = ground.spec("u", to);
            spec.prefix = prefix;
            spec.output = output;
            let refused = run(&spec);
            let Err(ConvertError::Unsayable { path: found, why }) = refused else {
                panic!("{wanted:?}: {refused:?}");
            };
            assert_eq!(why, wanted);
            assert!(
                path.is_empty() || found == Path::new(path),
                "{wanted:?}: {found:?}"
            );
            assert_eq!(hash_tree(&ground.at("u")), before, "{wanted:?}");
            assert!(
                !ground.at(".u.mica-convert").exists() && !ground.at(".anew.mica-convert").exists()
            );
        }
    }
}

#[test]
fn a_new_directory_that_holds_something_is_refused_and_so_is_one_inside_the_upper() {
    if !possible("a_new_directory_that_holds_something_is_refused_and_so_is_one_inside_the_upper") {
        return;
    }
    let ground = used();
    ground.write("anew/mine", "mine");
    let mut spec = ground.spec("u", Form::Named);
    spec.output = Some(ground.at("anew"));
    assert!(matches!(run(&spec), Err(ConvertError::NotEmpty { .. })));
    assert_eq!(fs::read_to_string(ground.at("anew/mine")).unwrap(), "mine");
    spec.output = Some(ground.at("u/d/anew"));
    assert!(matches!(
        run(&spec),
        Err(ConvertError::Stack(StackError::Inside { .. }))
    ));
}

#[test]
fn a_whiteout_by_name_beside_a_directory_of_the_name_makes_that_opaque() {
    if !possible("a_whiteout_by_name_beside_a_directory_of_the_name_makes_that_opaque") {
        return;
    }
    let ground = Ground::new();
    ground.write("l/d/old", "old");
    ground.write("l/f", "old");
    ground.write("u/d/new", "new");
    ground.write("u/f", "new");
    for name in ["u/.wh.d", "u/.wh.f"] {
        ground.write(name, "");
    }
    let expected = ground.view("u");
    run(&ground.spec("u", Form::Device)).unwrap();
    assert_eq!(ground.view("u"), expected);
    assert!(!expected.contains_key("/d/old") && expected.contains_key("/d/new"));
    only_files(&ground.at("u"));
}

/// Checks that nothing in an upper is a whiteout.
#[track_caller]
fn only_files(upper: &Path) {
    let mut find = Command::new("find");
    let found = find
        .arg(upper)
        .args(["-type", "c", "-o", "-name", ".wh*"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
}
