//! What a process can do in the cage: examples/cage_probe.rs tries it, as whoever may serve a mount.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

const NOBODY: u32 = 65534;

/// Says that a test was not run; where every test has to run, fails.
fn skipped(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    assert!(
        std::env::var_os("MICA_REQUIRE_ALL").is_none_or(|all| all != "1"),
        "{test} cannot run: {reason}"
    );
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "needs root");
    }
    root
}

/// Layers, and the probe beside them: its own place may be closed to ordinary users.
struct Ground {
    dir: TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for name in ["lower", "upper", "work"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        fs::write(dir.path().join("lower/hello"), "hello").unwrap();
        let tests = std::env::current_exe().unwrap();
        let build = tests.parent().unwrap().parent().unwrap();
        let probe = build.join("examples/cage_probe");
        assert!(
            probe.exists(),
            "run `cargo test -p mica`, which builds the examples"
        );
        fs::copy(probe, dir.path().join("probe")).unwrap();
        Self { dir }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn give_to_nobody(&self) {
        fs::set_permissions(self.dir.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["lower", "lower/hello", "upper", "work"] {
            chown(self.at(name), Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// Runs the probe by `wrapper` and returns how each attempt ended.
    fn probe(&self, wrapper: &[&str], place: &str, xattrs: &str) -> BTreeMap<String, String> {
        let mut line: Vec<String> = wrapper.iter().map(|&word| word.to_owned()).collect();
        line.push(self.at("probe").to_str().unwrap().to_owned());
        let root = self.dir.path().display();
        let userxattr = if xattrs == "user" { ",userxattr" } else { "" };
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).arg(place).arg(format!(
            "lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work{userxattr}"
        ));
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}{complaints}");
        let pairs = said.lines().filter_map(|line| line.split_once(": "));
        pairs
            .map(|(what, how)| (what.to_owned(), how.to_owned()))
            .collect()
    }

    /// Checks what the probe changed.
    #[track_caller]
    fn was_served(&self) {
        assert_eq!(fs::read_to_string(self.at("lower/hello")).unwrap(), "hello");
        assert_eq!(
            fs::read_to_string(self.at("upper/hello")).unwrap(),
            "hello, world"
        );
        assert!(self.at("upper/new").is_file() && self.at("upper/dir").is_dir());
    }
}

/// What is refused wherever the filter of system calls is.
const CALLS: [(&str, &str); 21] = [
    ("a signal to the parent", "EPERM"),
    ("a signal to init", "EPERM"),
    ("a descriptor of the parent", "EPERM"),
    ("a child", "EPERM"),
    ("another program", "EPERM"),
    ("a socket", "EPERM"),
    ("tracing", "EPERM"),
    ("a program in the kernel", "EPERM"),
    ("calls through a ring", "EPERM"),
    ("code from memory", "EPERM"),
    ("a user namespace", "EPERM"),
    ("a child in a user namespace", "EPERM"),
    ("a child by clone3", "ENOSYS"),
    ("a mount namespace by descriptor", "EPERM"),
    ("a mount", "EPERM"),
    ("an unmount", "EPERM"),
    ("another root", "EPERM"),
    ("all capabilities", "EPERM"),
    ("privileges by exec", "EPERM"),
    ("another limit", "EPERM"),
    ("a terminal", "EPERM"),
];

/// What is out of reach with an empty root and layers on private mounts.
const FILES: [(&str, &str); 7] = [
    ("a file of the host", "ENOENT"),
    ("the root of another process", "ENOENT"),
    ("memory of this process", "ENOENT"),
    ("a device", "ENOENT"),
    ("a new directory in the root", "EROFS"),
    ("a file of the host, up from a descriptor", "ENOENT"),
    ("serving", "done"),
];

#[track_caller]
fn check(found: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (what, how) in expected {
        assert_eq!(
            found.get(*what).map(String::as_str),
            Some(*how),
            "{what}: {found:#?}"
        );
    }
}

#[test]
fn root_gets_out_of_the_cage_by_nothing() {
    if !is_root("root_gets_out_of_the_cage_by_nothing") {
        return;
    }
    for xattrs in ["trusted", "user"] {
        let ground = Ground::new();
        let found = ground.probe(&["env"], "in", xattrs);
        check(&found, &CALLS);
        check(&found, &FILES);
        check(&found, &[("a device in the upper", "EACCES")]);
        let capabilities = &found["sandbox capabilities"];
        // With `user.overlay.*`, too: `trusted.*` of the layers are to be seen (OVL-133).
        assert!(capabilities.contains("CAP_SYS_ADMIN"), "{xattrs}");
        ground.was_served();
    }
}

/// If these failed outside, the refusals of the other tests would mean nothing.
#[test]
fn outside_the_attempts_are_not_refused() {
    if !is_root("outside_the_attempts_are_not_refused") {
        return;
    }
    let ground = Ground::new();
    let found = ground.probe(&["env"], "out", "user");
    let mut free: Vec<&str> = CALLS.iter().chain(&FILES).map(|(what, _)| *what).collect();
    // These need more than what a test can take for granted, or fail by what is asked.
    let special = [
        "calls through a ring",
        "all capabilities",
        "privileges by exec",
    ];
    free.retain(|what| !special.contains(what));
    for what in free {
        assert!(
            !["EPERM", "EROFS", "ENOSYS"].contains(&found[what].as_str()),
            "{what}: {found:#?}"
        );
    }
    let done = [
        "a file of the host",
        "memory of this process",
        "a signal to the parent",
        "a child",
        "a socket",
        "a mount namespace by descriptor",
    ];
    for what in done {
        check(&found, &[(what, "done")]);
    }
    check(&found, &[("another program", "ENOENT")]);
    ground.was_served();
}

#[test]
fn root_of_a_user_namespace_gets_out_of_the_cage_by_nothing() {
    let test = "root_of_a_user_namespace_gets_out_of_the_cage_by_nothing";
    let wrapper = ["unshare", "-Urm"];
    let possible = Command::new("unshare").args(["-Urm", "true"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        return skipped(test, "needs user namespaces");
    }
    let ground = Ground::new();
    let found = ground.probe(&wrapper, "in", "user");
    check(&found, &CALLS);
    check(&found, &FILES);
    assert!(!found["sandbox capabilities"].contains("CAP_SYS_ADMIN"));
    ground.was_served();
}

#[test]
fn an_ordinary_user_has_no_capability_and_the_filter() {
    if !is_root("an_ordinary_user_has_no_capability_and_the_filter") {
        return;
    }
    let ground = Ground::new();
    ground.give_to_nobody();
    let wrapper = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let found = ground.probe(&wrapper, "in", "user");
    check(&found, &CALLS);
    // Without privilege there is no other root, and it says so.
    check(
        &found,
        &[("a file of the host", "done"), ("serving", "done")],
    );
    assert!(
        found["sandbox root"].contains("no CAP_SYS_ADMIN"),
        "{found:#?}"
    );
    assert!(
        found["sandbox capabilities"].starts_with("none;"),
        "{found:#?}"
    );
    ground.was_served();
}
