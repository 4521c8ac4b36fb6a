//! `mica do`: what a command finds, what becomes of its changes, and how it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::ground::{Outcome, can_mount, mica, run};
use crate::terminal::Terminal;

/// Directories for a session: files that it works on, and the place of the sessions.
pub(crate) struct Place {
    dir: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        for name in ["kept", "changed", "gone"] {
            fs::write(dir.path().join("d").join(name), "host\n").unwrap();
        }
        Self { dir }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// `mica` with these arguments, begun among the files.
    pub(crate) fn mica(&self, arguments: &[&str]) -> Command {
        let mut command = mica(arguments);
        command
            .env("XDG_STATE_HOME", self.at("state"))
            .current_dir(self.at("d"));
        command
    }

    /// `mica do` of a shell script.
    pub(crate) fn script(&self, options: &[&str], script: &str) -> Command {
        let mut arguments = vec!["do"];
        arguments.extend(options);
        arguments.extend(["--", "sh", "-c", script]);
        self.mica(&arguments)
    }

    pub(crate) fn upper(&self, session: &str) -> PathBuf {
        let upper = self.at("state/mica/sessions").join(session).join("upper");
        let below = self.at("d");
        upper.join(below.strip_prefix("/").unwrap())
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_a_command_changes_is_kept_apart() {
    if !can_mount("what_a_command_changes_is_kept_apart") {
        return;
    }
    let place = Place::new();
    let script = "echo session > changed; rm gone; echo 12345 > new; cat kept changed new; pwd";
    let done = run(&mut place.script(&[], script));
    let expected = Outcome {
        status: Some(0),
        stdout: format!("host\nsession\n12345\n{}\n", place.at("d").display()),
        stderr: "1 added, 1 modified, 1 deleted, 14 B - mica diff 1 \u{b7} mica commit 1 \u{b7} mica discard 1\n"
            .into(),
    };
    assert_eq!(done, expected);
    assert_eq!(names(&place.at("d")), ["changed", "gone", "kept"]);
    assert_eq!(fs::read_to_string(place.at("d/changed")).unwrap(), "host\n");
    assert_eq!(names(&place.upper("1")), ["changed", "gone", "new"]);
}

#[test]
fn a_named_session_goes_on_and_a_removed_one_leaves_nothing() {
    if !can_mount("a_named_session_goes_on_and_a_removed_one_leaves_nothing") {
        return;
    }
    let place = Place::new();
    assert_eq!(
        run(&mut place.script(&["--name", "n"], "echo 1 > new")).status,
        Some(0)
    );
    let again = run(&mut place.script(&["--name", "n"], "cat new; rm new"));
    assert_eq!(
        (again.status, again.stdout.as_str()),
        (Some(0), "1\n"),
        "{again:?}"
    );
    let gone = run(&mut place.script(&["--rm"], "echo 1 > new"));
    assert_eq!(
        gone.stderr,
        "1 added, 0 modified, 0 deleted, 2 B - removed\n"
    );
    let list = run(&mut place.mica(&["sessions", "--json"]));
    assert!(
        list.stdout
            .starts_with("[{\"command\":[\"sh\",\"-c\",\"cat new; rm new\"]"),
        "{list:?}"
    );
    assert!(
        list.stdout
            .contains("\"name\":\"n\",\"running\":false,\"used\":"),
        "{list:?}"
    );
    assert_eq!(run(&mut place.mica(&["discard", "n"])).status, Some(0));
    assert_eq!(run(&mut place.mica(&["sessions"])).stdout, "");
    let none = run(&mut place.mica(&["discard", "n"]));
    assert_eq!(
        none.stderr,
        "error: there is no session `n`\nhint: `mica sessions` lists them\n"
    );
}

#[test]
fn the_exit_status_is_the_commands() {
    if !can_mount("the_exit_status_is_the_commands") {
        return;
    }
    let place = Place::new();
    let table = [
        (vec!["--", "true"], 0),
        (vec!["--", "sh", "-c", "exit 7"], 7),
        (vec!["--", "sh", "-c", "kill -TERM $$"], 143),
        (vec!["--", "sh", "-c", "kill -KILL $$"], 137),
        (vec!["--", "no-such-program"], 127),
        (vec!["--", "./no-such-program"], 127),
        (vec!["--", "/etc"], 126),
        (vec!["--", "./kept"], 126),
        (vec!["-C", "/no/such/dir", "--", "true"], 125),
        (vec!["--lower", "/no/such/dir", "--", "true"], 125),
        (vec!["--name", "../x", "--", "true"], 125),
    ];
    for (arguments, status) in table {
        let mut line = vec!["do", "--rm"];
        line.extend(&arguments);
        let done = run(&mut place.mica(&line));
        assert_eq!(done.status, Some(status), "{arguments:?}: {done:?}");
    }
    assert_eq!(run(&mut place.mica(&["sessions"])).stdout, "");
}

#[test]
fn a_command_is_in_namespaces_of_its_own_with_few_capabilities() {
    if !can_mount("a_command_is_in_namespaces_of_its_own_with_few_capabilities") {
        return;
    }
    let place = Place::new();
    let script = "for n in mnt pid ipc uts net; do readlink /proc/self/ns/$n; done; grep -E 'Cap(Prm|Bnd)' /proc/self/status; \
                  ls /proc/self/fd; test $$ = 1 || echo child; ls /dev | tr '\\n' ' '";
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$@\" 7</etc/passwd", "sh"]);
    let line = place.script(&["--rm"], script);
    command.arg(line.get_program()).args(line.get_args());
    command.env("XDG_STATE_HOME", place.at("state"));
    let done = run(&mut command);
    let own = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    let lines: Vec<_> = done.stdout.lines().collect();
    for (line, name) in lines.iter().zip(["mnt", "pid", "ipc", "uts"]) {
        assert_ne!(Path::new(line), own(name), "{done:?}");
    }
    assert_eq!(Path::new(lines[4]), own("net"));
    assert_eq!(lines[5], "CapPrm:\t00000000a80405fb");
    assert_eq!(lines[6], "CapBnd:\t00000000a80405fb");
    // The fourth is that of the listing itself.
    assert_eq!(lines[7..12], ["0", "1", "2", "3", "child"], "{done:?}");
    assert_eq!(
        lines[12],
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
    );
}

#[test]
fn the_host_is_out_of_reach() {
    if !can_mount("the_host_is_out_of_reach") {
        return;
    }
    let place = Place::new();
    let table = [
        (
            "echo x > /proc/sys/kernel/hostname",
            "Read-only file system",
        ),
        ("echo h > /proc/sysrq-trigger", "Read-only file system"),
        ("touch /sys/x", "Read-only file system"),
        ("mkdir /sys/fs/cgroup/x", "Read-only file system"),
        ("hostname x", "must be root"),
        ("mount -t tmpfs x /mnt", "permission denied"),
        ("mknod d b 254 0 && head -c 1 d", "Permission denied"),
        (
            "cat /proc/kcore | head -c 1 | grep -q . || echo empty >&2",
            "empty",
        ),
    ];
    for (script, said) in table {
        // A kernel may be built without it.
        if script.contains("sysrq") && !Path::new("/proc/sysrq-trigger").exists() {
            continue;
        }
        let done = run(place.script(&["--rm"], script).env("LC_ALL", "C"));
        let stderr = done.stderr.to_lowercase();
        assert!(stderr.contains(&said.to_lowercase()), "{script}: {done:?}");
    }
}

#[test]
fn a_terminal_is_replaced_by_one_of_the_session() {
    let test = "a_terminal_is_replaced_by_one_of_the_session";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let line =
        "stty rows 33 cols 77; $MICA do --rm -- sh -c 'tty; stty size; echo x > /dev/tty; exit 5'";
    let (status, said) = Terminal::line(&place, line).ends();
    assert_eq!(status, Some(5), "{said}");
    assert!(said.contains("/dev/pts/0\n33 77\nx\n0 added"), "{said}");
}
