//! OVL-138, OVL-139: lowers that other processes change while they are mounted.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::ground::{Ground, can_mount, ok, until};
use crate::layers::sh;

/// The kernel asks again after a second; a busy machine may need more to answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Two lowers, which `change` changes, under an upper.
struct Live(Ground);

impl Live {
    fn new(fill: &str) -> Self {
        let ground = Ground::new();
        assert_eq!(sh(&ground, &format!("mkdir l2; {fill}")), ok());
        let options = "lowerdir=l:l2,upperdir=u,workdir=w,userxattr,shared";
        assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
        Self(ground)
    }

    /// Changes the layers, in another process.
    #[track_caller]
    fn change(&self, script: &str) {
        assert_eq!(sh(&self.0, script), ok(), "{script}");
    }

    fn read(&self, path: &str) -> Result<String, io::ErrorKind> {
        fs::read_to_string(self.0.at("m").join(path)).map_err(|error| error.kind())
    }

    fn size(&self, path: &str) -> Option<u64> {
        let found = fs::symlink_metadata(self.0.at("m").join(path));
        found.ok().map(|found| found.len())
    }

    fn names(&self, path: &str) -> BTreeSet<String> {
        let found = names(&self.0.at("m").join(path));
        found.unwrap_or_else(|error| {
            let kind = error.kind();
            assert!(
                kind == io::ErrorKind::NotFound || kind == io::ErrorKind::NotADirectory,
                "{path}: {error}"
            );
            BTreeSet::new()
        })
    }
}

fn names(dir: &Path) -> io::Result<BTreeSet<String>> {
    let names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().unwrap()));
    names.collect()
}

fn set(names: &str) -> BTreeSet<String> {
    names.split_whitespace().map(str::to_owned).collect()
}

/// Waits until `see` sees `after`. Until then it sees `before`, and nothing between.
#[track_caller]
fn comes<T: PartialEq + Debug>(see: impl Fn() -> T, before: &T, after: &T) {
    let end = Instant::now() + TIMEOUT;
    loop {
        let seen = see();
        if seen == *after {
            return;
        }
        assert_eq!(seen, *before, "neither what was there nor {after:?}");
        assert!(Instant::now() < end, "still {seen:?}, not {after:?}");
        thread::yield_now();
    }
}

#[test]
fn ovl_138_who_opens_a_file_reads_what_was_written_to_the_lower_before() {
    if !can_mount("ovl_138_who_opens_a_file_reads_what_was_written_to_the_lower_before") {
        return;
    }
    let live = Live::new("echo old > l/f; echo old > l2/deep; ln l/f l/same; echo old > l/gone");
    for path in ["f", "deep", "same", "gone"] {
        assert_eq!(live.read(path).as_deref(), Ok("old\n"), "{path}");
    }
    for (script, path, expected) in [
        ("echo new and longer > l/f", "f", "new and longer\n"),
        (":", "same", "new and longer\n"),
        ("echo more >> l/f", "f", "new and longer\nmore\n"),
        ("truncate -s 3 l/f", "f", "new"),
        ("echo replaced > l/.f; mv l/.f l/f", "f", "replaced\n"),
        (":", "same", "new"),
        ("printf 'six 66' > l/same", "same", "six 66"),
        ("echo one > l2/deep; echo two > l2/deep", "deep", "two\n"),
        ("echo again > l2/.d; mv l2/.d l2/deep", "deep", "again\n"),
        // Over the other, which it hides.
        ("mv l/gone l/deep", "deep", "old\n"),
    ] {
        live.change(script);
        assert_eq!(live.read(path).as_deref(), Ok(expected), "{script}");
        // A stat after the open, which nothing else may change.
        assert_eq!(live.size(path), Some(expected.len() as u64), "{script}");
    }
}

/// Waits until `path` is known by its ctime: whoever changes it from then on changes that.
pub(crate) fn settle(path: &Path) {
    until(|| {
        let age = fs::metadata(path).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        age.ctime() + 3 < i64::try_from(now.as_secs()).unwrap()
    });
}

#[test]
fn ovl_138_pages_that_stayed_go_with_any_change_of_the_lower() {
    if !can_mount("ovl_138_pages_that_stayed_go_with_any_change_of_the_lower") {
        return;
    }
    let live = Live::new("echo one > l/f; echo one > l/copied");
    for (script, expected) in [
        // The size stays, and the time of the data.
        (
            "touch -r l/f time; echo two > l/f; touch -r time l/f",
            "two\n",
        ),
        ("echo six > l/.f; touch -r l/f l/.f; mv l/.f l/f", "six\n"),
    ] {
        settle(&live.0.at("l/f"));
        // Read until nothing is asked any more.
        let before = live.read("f");
        for _ in 0..20 {
            assert_eq!(live.read("f"), before);
        }
        live.change(script);
        assert_eq!(live.read("f").as_deref(), Ok(expected), "{script}");
    }
    for _ in 0..20 {
        assert_eq!(live.read("copied").as_deref(), Ok("one\n"));
    }
    // Its pages are of the lower before this, the copy is of the lower after.
    live.change("touch -r l/copied time; echo two > l/copied; touch -r time l/copied");
    fs::set_permissions(live.0.at("m/copied"), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(live.read("copied").as_deref(), Ok("two\n"));
    live.change("echo six > l/copied");
    for _ in 0..20 {
        assert_eq!(live.read("copied").as_deref(), Ok("two\n"));
    }
    fs::write(live.0.at("m/copied"), "mine\n").unwrap();
    assert_eq!(live.read("copied").as_deref(), Ok("mine\n"));
}

#[test]
fn ovl_138_sizes_and_an_open_file_follow_the_lower_within_the_timeout() {
    if !can_mount("ovl_138_sizes_and_an_open_file_follow_the_lower_within_the_timeout") {
        return;
    }
    let live = Live::new("echo old > l/f");
    assert_eq!(live.size("f"), Some(4));
    live.change("echo longer >> l/f");
    comes(|| live.size("f"), &Some(4), &Some(11));
    let open = File::open(live.0.at("m/f")).unwrap();
    let held = || {
        let mut data = [0; 100];
        let count = open.read_at(&mut data, 0).unwrap();
        String::from_utf8(data[..count].to_vec()).unwrap()
    };
    assert_eq!(held(), "old\nlonger\n");
    // One write, so that the lower itself is never between the two.
    live.change("printf 'rather new, and the longest\n' | dd of=l/f conv=notrunc status=none");
    let (old, new) = ("old\nlonger\n", "rather new, and the longest\n");
    comes(held, &old.to_owned(), &new.to_owned());
    live.change("truncate -s 6 l/f");
    comes(held, &new.to_owned(), &"rather".to_owned());
    assert_eq!(open.metadata().unwrap().len(), 6);
}

#[test]
fn ovl_138_names_come_and_go_with_those_of_the_lowers() {
    if !can_mount("ovl_138_names_come_and_go_with_those_of_the_lowers") {
        return;
    }
    let live = Live::new("echo a > l/a; ln -s one l/link; mkdir l2/d; echo in > l2/d/in");
    let link = || fs::read_link(live.0.at("m/link")).ok();
    let missing = Err(io::ErrorKind::NotFound);
    assert_eq!(live.read("a").as_deref(), Ok("a\n"));
    assert_eq!(live.read("b"), missing);
    assert_eq!(link(), Some("one".into()));
    live.change("mv l/a l/b; ln -sfn two l/link; mv l2/d l2/e");
    comes(|| live.read("b"), &missing, &Ok("a\n".to_owned()));
    comes(|| live.size("a"), &Some(2), &None);
    comes(link, &Some("one".into()), &Some("two".into()));
    comes(|| live.read("e/in"), &missing, &Ok("in\n".to_owned()));
    comes(|| live.names("d"), &set("in"), &set(""));
    live.change("rm l/b; mkdir l/b; echo x > l/b/x; rm -r l2/e; echo file > l2/e");
    comes(|| live.names("b"), &set(""), &set("x"));
    comes(|| live.names(""), &set("b e link"), &set("b e link"));
    comes(
        || live.read("e"),
        &Err(io::ErrorKind::IsADirectory),
        &Ok("file\n".to_owned()),
    );
    live.change("rm -r l/* l2/*");
    comes(|| live.names(""), &set("b e link"), &set(""));
    comes(|| live.read("e"), &Ok("file\n".to_owned()), &missing);
}

#[test]
fn ovl_139_merged_directories_follow_those_that_merge_and_stay_what_they_are() {
    if !can_mount("ovl_139_merged_directories_follow_those_that_merge_and_stay_what_they_are") {
        return;
    }
    let live = Live::new("mkdir l/both l2/both; echo a > l/both/a; echo b > l2/both/b");
    assert_eq!(live.names("both"), set("a b"));
    let before = fs::metadata(live.0.at("m/both")).unwrap();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let inside = rustix::fs::open(live.0.at("m/both"), flags, Mode::empty()).unwrap();
    live.change("rm l2/both/b; echo c > l2/both/c");
    comes(|| live.names("both"), &set("a b"), &set("a c"));
    live.change("mv l2/both l2/other; mkdir l2/both; echo n > l2/both/n");
    comes(|| live.names("both"), &set("a c"), &set("a n"));
    comes(
        || live.read("other/c"),
        &Err(io::ErrorKind::NotFound),
        &Ok("c\n".to_owned()),
    );
    // Who was in it before is still in it.
    assert!(rustix::fs::openat(&inside, "n", OFlags::RDONLY, Mode::empty()).is_ok());
    assert_eq!(
        fs::metadata(live.0.at("m/both")).unwrap().ino(),
        before.ino()
    );
    // With an upper, which stays.
    fs::write(live.0.at("m/both/mine"), "mine").unwrap();
    fs::remove_file(live.0.at("m/both/a")).unwrap();
    assert_eq!(live.names("both"), set("mine n"));
    live.change(
        "rm -r l/both l2/both; mkdir l2/both; echo last > l2/both/last; echo a > l2/both/a",
    );
    comes(|| live.names("both"), &set("mine n"), &set("last mine"));
    assert_eq!(live.read("both/last").as_deref(), Ok("last\n"));
    live.change("rm -r l2/both");
    comes(|| live.names("both"), &set("last mine"), &set("mine"));
    comes(|| live.size("both/last"), &Some(5), &None);
    assert!(rustix::fs::openat(&inside, "mine", OFlags::RDONLY, Mode::empty()).is_ok());
    fs::remove_file(live.0.at("m/both/mine")).unwrap();
    fs::remove_dir(live.0.at("m/both")).unwrap();
}

#[test]
fn ovl_138_what_is_gone_is_looked_up_again_and_a_change_is_made_to_what_is_there() {
    if !can_mount("ovl_138_what_is_gone_is_looked_up_again_and_a_change_is_made_to_what_is_there") {
        return;
    }
    let live =
        Live::new("echo old > l/f; echo old > l/held; echo old > l/moved; echo kept > l/kept");
    for path in ["f", "held", "moved", "kept"] {
        assert_eq!(live.size(path), Some(if path == "kept" { 5 } else { 4 }));
    }
    let held = File::open(live.0.at("m/held")).unwrap();
    live.change("echo newer > l/.f; mv l/.f l/f; rm l/held; mv l/moved l/there");
    let at = |path: &str| live.0.at("m").join(path);
    fs::set_permissions(at("f"), Permissions::from_mode(0o640)).unwrap();
    assert_eq!(live.read("f").as_deref(), Ok("newer\n"));
    assert_eq!(
        fs::metadata(live.0.at("u/f")).unwrap().mode() & 0o777,
        0o640
    );
    // Who has it open reads it, and cannot change it: there is no name to copy it up to.
    assert_eq!(held.read_at(&mut [0; 10], 0).ok(), Some(4));
    let changed = held
        .set_permissions(Permissions::from_mode(0o600))
        .unwrap_err();
    assert_eq!(Errno::from_io_error(&changed), Some(Errno::STALE));
    // Under the name that it has now.
    comes(|| live.size("there"), &None, &Some(4));
    fs::write(at("there"), "through the mount").unwrap();
    assert_eq!(
        fs::read_to_string(live.0.at("u/there")).unwrap(),
        "through the mount"
    );
    assert!(!live.0.at("u/moved").exists());
    // What was written through the mount belongs to it.
    fs::write(at("kept"), "mine").unwrap();
    live.change("echo theirs > l/kept; rm l/there");
    comes(
        || live.names(""),
        &set("f kept there"),
        &set("f kept there"),
    );
    assert_eq!(live.read("kept").as_deref(), Ok("mine"));
    assert_eq!(live.read("there").as_deref(), Ok("through the mount"));
    fs::remove_file(at("kept")).unwrap();
    assert_eq!(live.size("kept"), None);
    assert_eq!(fs::read_to_string(live.0.at("l/kept")).unwrap(), "theirs\n");
}
