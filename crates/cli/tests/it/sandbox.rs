//! The server's sandbox, as it looks from outside. What it keeps a server from is tried in the tests of the library.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal};

use crate::foreground::Foreground;
use crate::ground::{Ground, Outcome, Server, can_mount, ok, run, until};

/// DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, CHOWN, FSETID, SETUID, SETGID, MKNOD, SETFCAP.
const SERVING: u64 =
    1 << 1 | 1 << 2 | 1 << 3 | 1 << 0 | 1 << 4 | 1 << 7 | 1 << 6 | 1 << 27 | 1 << 31;
const SYS_ADMIN: u64 = 1 << 21;

/// Reads the lines of every thread's status; fails if a line that is looked at differs between two.
#[track_caller]
fn status(server: &Server) -> BTreeMap<String, String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut all: Option<BTreeMap<String, String>> = None;
    let mut threads = 0;
    for task in tasks {
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(task.unwrap().path().join("status")) else {
            continue;
        };
        threads += 1;
        let lines = text.lines().filter_map(|line| line.split_once(":\t"));
        let kept = lines.filter(|(name, _)| {
            name.starts_with("Cap") || name.starts_with("Seccomp") || *name == "NoNewPrivs"
        });
        let kept = kept.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let this: BTreeMap<_, _> = kept.collect();
        if let Some(all) = &all {
            assert_eq!(*all, this);
        }
        all = Some(this);
    }
    assert!(threads > 2, "{threads} threads");
    all.unwrap()
}

fn mask(status: &BTreeMap<String, String>, name: &str) -> u64 {
    u64::from_str_radix(&status[name], 16).unwrap()
}

#[test]
fn every_thread_of_a_server_has_few_rights() {
    if !can_mount("every_thread_of_a_server_has_few_rights") {
        return;
    }
    for (options, expected) in [
        ("lowerdir=l,upperdir=u,workdir=w", SERVING | SYS_ADMIN),
        // `trusted.*` are attributes like any other then (OVL-133).
        (
            "lowerdir=l,upperdir=u,workdir=w,userxattr",
            SERVING | SYS_ADMIN,
        ),
    ] {
        let ground = Ground::new();
        assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
        fs::write(ground.at("m/f"), "served").unwrap();
        let status = status(&ground.server());
        for set in ["CapPrm", "CapEff", "CapBnd"] {
            assert_eq!(mask(&status, set), expected, "{set} with {options}");
        }
        for set in ["CapInh", "CapAmb"] {
            assert_eq!(mask(&status, set), 0, "{set} with {options}");
        }
        assert_eq!(
            (status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()),
            ("1", "2")
        );
    }
}

#[test]
fn the_root_of_a_server_is_empty_and_its_mounts_are_its_own() {
    if !can_mount("the_root_of_a_server_is_empty_and_its_mounts_are_its_own") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let process = format!("/proc/{}", ground.server().pid());
    let names = |path: &str| -> Vec<String> {
        let entries = fs::read_dir(format!("{process}/root/{path}")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    assert_eq!(names(""), ["proc"]);
    assert_eq!(names("proc"), ["self"]);
    assert_eq!(names("proc/self"), ["fd"]);
    let mounts = fs::read_to_string(format!("{process}/mounts")).unwrap();
    let mut points: Vec<_> = mounts
        .lines()
        .map(|line| line.split(' ').skip(1).take(2).collect::<Vec<_>>())
        .collect();
    points.sort_unstable();
    assert_eq!(points, [["/", "tmpfs"], ["/proc/self/fd", "proc"]]);
    assert!(
        mounts.contains("mica / tmpfs ro,nosuid,nodev,noexec,"),
        "{mounts}"
    );
    let own = fs::read_link(format!("{process}/ns/mnt")).unwrap();
    assert_ne!(own, fs::read_link("/proc/self/ns/mnt").unwrap());
}

#[test]
fn no_sandbox_leaves_the_server_what_its_caller_has() {
    if !can_mount("no_sandbox_leaves_the_server_what_its_caller_has") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["--no-sandbox"]);
    let server = ground.server();
    let status = status(&server);
    assert_eq!(
        (status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()),
        ("0", "0")
    );
    let root = format!("/proc/{}/root", server.pid());
    assert!(fs::read_dir(root).unwrap().count() > 1);
    assert!(ground.helpers().is_empty());
    server.signal(Signal::TERM);
    server.ends();
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn no_sandbox_is_an_option_for_every_program() {
    if !can_mount("no_sandbox_is_an_option_for_every_program") {
        return;
    }
    for program in ["mica", "fuse-overlayfs"] {
        let ground = Ground::new();
        let options = "lowerdir=l,upperdir=u,workdir=w,userxattr,no_sandbox";
        let mut command = Command::new(env!("CARGO_BIN_EXE_mica"));
        command.arg0(program);
        if program == "mica" {
            command.arg("mount");
        }
        let mounted = run(ground.here(command.args(["-o", options, "m"])));
        assert_eq!(mounted.status, Some(0), "{}", mounted.stderr);
        assert_eq!(status(&ground.server())["Seccomp"], "0");
    }
}

#[test]
fn a_second_mount_called_fuse_overlayfs_is_not_kept_off_by_itself() {
    if !can_mount("a_second_mount_called_fuse_overlayfs_is_not_kept_off_by_itself") {
        return;
    }
    let grounds = [Ground::new(), Ground::new()];
    for ground in &grounds {
        // The scan knows a process by its name, which is that of the file that it runs.
        let program = ground.at("fuse-overlayfs");
        symlink(env!("CARGO_BIN_EXE_mica"), &program).unwrap();
        let dir = |name| ground.at(name).display().to_string();
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            dir("l"),
            dir("u"),
            dir("w")
        );
        let mounted = run(ground.here(Command::new(&program).args(["-o", &options, "m"])));
        assert_eq!((mounted.status, mounted.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_mount_says_what_its_sandbox_is() {
    if !can_mount("a_mount_says_what_its_sandbox_is") {
        return;
    }
    let ground = Ground::new();
    let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
    let said = ground.run(&["mount", "-v", "-o", options, "m"]).stderr;
    for line in [
        "sandbox root: empty but for /proc/self/fd\n",
        "sandbox capabilities: CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_CHOWN CAP_FSETID CAP_SETUID \
         CAP_SETGID CAP_MKNOD CAP_SETFCAP CAP_SYS_ADMIN; no others for good\n",
        " allowed, no_new_privs\n",
        "sandbox reach: upper and work, in `$`\n",
    ] {
        assert!(said.contains(line), "{line} is not in:\n{said}");
    }
    ground.unmount("m");
    let said = ground
        .run(&["mount", "-v", "--no-sandbox", "-o", options, "m"])
        .stderr;
    assert!(said.contains("\nno sandbox\n"), "{said}");
}

/// The helper of the one server of this directory.
#[track_caller]
fn helper(ground: &Ground) -> Server {
    let helpers = ground.helpers();
    let [pid] = helpers.as_slice() else {
        panic!("{} helpers run", helpers.len());
    };
    Server::watch(*pid)
}

#[test]
fn the_helper_holds_nothing_of_its_caller_and_outlives_its_signals() {
    if !can_mount("the_helper_holds_nothing_of_its_caller_and_outlives_its_signals") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let helper = helper(&ground);
    let process = format!("/proc/{}", helper.pid());
    for fd in ["1", "2"] {
        let target = fs::read_link(format!("{process}/fd/{fd}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "fd {fd}");
    }
    assert_eq!(
        fs::read_link(format!("{process}/cwd")).unwrap().to_str(),
        Some("/")
    );
    // It leads one from when it runs, which the mount does not wait for.
    until(|| {
        let session = rustix::process::getsid(Pid::from_raw(helper.pid())).unwrap();
        session.as_raw_nonzero().get() == helper.pid()
    });
    // It may get them as a part of what somebody ends by name, and is needed then.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        helper.signal(signal);
    }
    let server = ground.server();
    server.signal(Signal::TERM);
    server.ends();
    helper.ends();
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn the_helper_ends_with_a_server_that_is_killed() {
    if !can_mount("the_helper_ends_with_a_server_that_is_killed") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let helper = helper(&ground);
    ground.server().signal(Signal::KILL);
    helper.ends();
    // What a killed server leaves stays, as without a helper.
    assert!(ground.mounted("m").is_some());
}

#[test]
fn a_helper_that_is_killed_is_missed_and_the_mount_goes_on() {
    if !can_mount("a_helper_that_is_killed_is_missed_and_the_mount_goes_on") {
        return;
    }
    let ground = Ground::new();
    let mut server = Foreground::start(&ground, &[]);
    let helper = helper(&ground);
    helper.dies();
    server.signal(Signal::TERM);
    server.says("the process that does it is gone");
    fs::write(ground.at("m/f"), "still served").unwrap();
    ground.unmount("m");
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_helper_that_is_told_so_detaches_what_a_killed_server_left() {
    if !can_mount("a_helper_that_is_told_so_detaches_what_a_killed_server_left") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    server.dies();
    // A server that is gone: the end of its socket is what the helper reads.
    let path = ground.at("m");
    let told = ["unmount-helper", "--auto", path.to_str().unwrap()];
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    drop(ours);
    let mut helper = ground.mica(&told);
    let mut helper = helper
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    assert!(helper.wait().unwrap().success());
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn a_sandbox_that_cannot_be_is_an_error_and_no_mount() {
    if !can_mount("a_sandbox_that_cannot_be_is_an_error_and_no_mount") {
        return;
    }
    // What lies over a part of /proc makes a step fail; the shell becomes the server, so it is that process's part.
    for (part, causes) in [
        (
            "task",
            "caused by: the server cannot be confined: the process has 2 threads, and may have one\n",
        ),
        (
            "fd",
            "caused by:\n  \
               1: the server cannot be confined: reading `/proc/self`\n  \
               2: no such file or directory (ENOENT)\n",
        ),
    ] {
        let ground = Ground::alone();
        let become_server = format!(
            "mount -t tmpfs none /proc/$$/{part} && mkdir /proc/$$/{part}/1 /proc/$$/{part}/2 && \
             exec \"$0\" mount -f -o lowerdir=l,userxattr m"
        );
        let script = "sh -c \"$1\" \"$0\"; status=$?; findmnt m; exit $status";
        let mica = env!("CARGO_BIN_EXE_mica");
        let mut command = Command::new("unshare");
        ground.here(command.args(["-m", "sh", "-c", script, mica, &become_server]));
        let refused = run(&mut command);
        let expected = Outcome {
            status: Some(1),
            stdout: String::new(),
            stderr: format!(
                "error: cannot mount at `m`\n{causes}\
                 hint: `-o no_sandbox` mounts without confining the server\n"
            ),
        };
        assert_eq!(refused, expected);
        for helper in ground.helpers() {
            Server::watch(helper).ends();
        }
    }
}
