//! The life of a mount, from `mica mount` to the end of its server.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::ground::{Ground, Outcome, Server, can_mount, mica, run};

fn ok() -> Outcome {
    Outcome {
        status: Some(0),
        stdout: String::new(),
        stderr: String::new(),
    }
}

#[test]
fn a_mount_answers_when_the_command_returns() {
    if !can_mount("a_mount_answers_when_the_command_returns") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    ground.mount(&[]);
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "lower");
    fs::write(ground.at("m/f"), "changed").unwrap();
    assert_eq!(fs::read_to_string(ground.at("l/f")).unwrap(), "lower");
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "changed");
}

#[test]
fn the_mount_table_shows_source_and_type() {
    if !can_mount("the_mount_table_shows_source_and_type") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "noatime,nosuid,noexec,nodev"]);
    let fields = ground.mounted("m").unwrap();
    assert_eq!(fields[0], "mica");
    assert_eq!(fields[2], "fuse.mica");
    for option in ["rw", "noatime", "nosuid", "noexec", "nodev", "allow_other", "default_permissions"] {
        assert!(fields[3].split(',').any(|o| o == option), "{option} not in {}", fields[3]);
    }
    assert_eq!(ground.run(&["umount", "m"]), ok());
    ground.mount(&["-o", "fsname=my source"]);
    assert_eq!(ground.mounted("m").unwrap()[0], r"my\040source");
}

#[test]
fn umount_ends_the_server() {
    if !can_mount("umount_ends_the_server") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    assert!(!server.has_ended());
    assert_eq!(ground.run(&["umount", "m"]), ok());
    server.ends();
    assert_eq!(ground.mounted("m"), None);
}

#[test]
fn the_umount_of_the_system_ends_the_server() {
    if !can_mount("the_umount_of_the_system_ends_the_server") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    assert_eq!(run(Command::new("umount").arg(ground.at("m"))), ok());
    server.ends();
}

#[test]
fn the_same_layers_can_be_mounted_again_at_once() {
    if !can_mount("the_same_layers_can_be_mounted_again_at_once") {
        return;
    }
    let ground = Ground::new();
    for n in 0..5 {
        ground.mount(&[]);
        fs::write(ground.at("m/f"), n.to_string()).unwrap();
        assert_eq!(ground.run(&["umount", "m"]), ok());
    }
    assert_eq!(fs::read_to_string(ground.at("u/f")).unwrap(), "4");
}

#[test]
fn a_signal_unmounts() {
    if !can_mount("a_signal_unmounts") {
        return;
    }
    for signal in [Signal::TERM, Signal::INT] {
        let ground = Ground::new();
        ground.mount(&[]);
        let server = ground.server();
        server.signal(signal);
        server.ends();
        assert_eq!(ground.mounted("m"), None);
    }
}

#[test]
fn a_busy_mount_is_served_until_its_last_user_is_gone() {
    if !can_mount("a_busy_mount_is_served_until_its_last_user_is_gone") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "still here").unwrap();
    // A log message says when the signal was handled.
    let mut server = Foreground::start(&ground, &["--log-level", "info"]);
    let file = fs::File::open(ground.at("m/f")).unwrap();
    server.signal(Signal::TERM);
    server.says("detached");
    assert_eq!(ground.mounted("m"), None);
    assert_eq!(std::io::read_to_string(&file).unwrap(), "still here");
    drop(file);
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    if !can_mount("a_second_signal_ends_the_server_at_once") {
        return;
    }
    let ground = Ground::new();
    let mut server = Foreground::start(&ground, &["--log-level", "info"]);
    let dir = fs::File::open(ground.at("m")).unwrap();
    server.signal(Signal::TERM);
    server.says("detached");
    server.signal(Signal::TERM);
    assert_eq!(server.ends(), None);
    drop(dir);
}

#[test]
fn a_busy_mount_is_named_and_can_be_detached() {
    if !can_mount("a_busy_mount_is_named_and_can_be_detached") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    let server = ground.server();
    let dir = fs::File::open(ground.at("m")).unwrap();
    let refused = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot unmount `m`\n\
                 caused by: it is in use\n\
                 hint: `fuser -vm m` lists who uses it; `mica umount --lazy m` detaches it all the same\n"
            .into(),
    };
    assert_eq!(ground.run(&["umount", "m"]), refused);
    assert_eq!(ground.run(&["umount", "-l", "m"]), ok());
    assert_eq!(ground.mounted("m"), None);
    assert!(!server.has_ended());
    drop(dir);
    server.ends();
}

#[test]
fn the_background_server_holds_nothing_of_its_caller() {
    if !can_mount("the_background_server_holds_nothing_of_its_caller") {
        return;
    }
    let ground = Ground::new();
    // `run` reads both streams to their end, so it returns only if the server has closed them.
    ground.mount(&[]);
    let server = ground.server();
    let process = format!("/proc/{}", server.pid());
    for fd in ["0", "1", "2"] {
        let target = fs::read_link(format!("{process}/fd/{fd}")).unwrap();
        assert_eq!(target.to_str(), Some("/dev/null"), "fd {fd}");
    }
    assert_eq!(fs::read_link(format!("{process}/cwd")).unwrap().to_str(), Some("/"));
    let stat = fs::read_to_string(format!("{process}/stat")).unwrap();
    let session = stat.rsplit(')').next().unwrap().split_whitespace().nth(3).unwrap();
    assert_eq!(session, server.pid().to_string());
}

#[test]
fn no_upper_is_read_only() {
    if !can_mount("no_upper_is_read_only") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "lower").unwrap();
    assert_eq!(ground.run(&["mount", "-o", "lowerdir=u:l", "m"]), ok());
    assert!(ground.mounted("m").unwrap()[3].starts_with("ro,"));
    assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), "lower");
    let refused = fs::write(ground.at("m/f"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn ro_forbids_writing_to_an_upper() {
    if !can_mount("ro_forbids_writing_to_an_upper") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["-o", "ro"]);
    assert!(ground.mounted("m").unwrap()[3].starts_with("ro,"));
    let refused = fs::write(ground.at("m/f"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[test]
fn option_strings_longer_than_a_page_are_taken() {
    if !can_mount("option_strings_longer_than_a_page_are_taken") {
        return;
    }
    let ground = Ground::new();
    let names: Vec<String> = (0..90).map(|n| format!("{n:070}")).collect();
    for name in &names {
        fs::create_dir(ground.at(name)).unwrap();
        fs::write(ground.at(name).join(name), "").unwrap();
    }
    let absolute: Vec<&str> = names.iter().map(String::as_str).collect();
    let relative = format!("lowerdir={}", absolute.join(":"));
    assert!(relative.len() > 5000);
    let appended = names.iter().map(|name| format!("lowerdir+=./{name}"));
    let appended = appended.collect::<Vec<_>>().join(",");
    for options in [relative, appended] {
        assert_eq!(ground.run(&["mount", "-o", &options, "m"]), ok());
        assert_eq!(fs::read_dir(ground.at("m")).unwrap().count(), 90);
        assert_eq!(ground.run(&["umount", "m"]), ok());
    }
}

#[test]
fn paths_with_separators_in_them_are_escaped() {
    if !can_mount("paths_with_separators_in_them_are_escaped") {
        return;
    }
    let ground = Ground::new();
    for name in ["a:b", "c,d"] {
        fs::create_dir(ground.at(name)).unwrap();
        fs::write(ground.at(name).join("f"), name).unwrap();
    }
    for (options, first) in [
        (r"lowerdir=a\:b:c\,d", "a:b"),
        (r"lowerdir+=c\,d,lowerdir+=a:b", "c,d"),
    ] {
        assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
        assert_eq!(fs::read_to_string(ground.at("m/f")).unwrap(), first);
        assert_eq!(ground.run(&["umount", "m"]), ok());
    }
}

#[test]
fn one_workdir_serves_one_mount() {
    if !can_mount("one_workdir_serves_one_mount") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&[]);
    fs::create_dir(ground.at("m2")).unwrap();
    let second = ground.run(&["mount", "-o", "lowerdir=l,upperdir=u,workdir=w,userxattr", "m2"]);
    let refused = Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: "error: cannot mount at `m2`\n\
                 caused by: upperdir `u` is in use by another mount\n\
                 hint: `findmnt -t fuse.mica` lists the mounts: end the other one with `mica umount MOUNTPOINT`, or give this one an upperdir and a workdir of its own\n"
            .into(),
    };
    assert_eq!(second, refused);
    assert_eq!(ground.mounted("m2"), None);
}

#[test]
fn trusted_and_user_attributes_are_kept_where_they_were_asked_for() {
    if !can_mount("trusted_and_user_attributes_are_kept_where_they_were_asked_for") {
        return;
    }
    for (option, prefix) in [("userxattr", "user"), ("rw", "trusted")] {
        let ground = Ground::new();
        fs::create_dir(ground.at("l/d")).unwrap();
        let options = format!("lowerdir=l,upperdir=u,workdir=w,{option}");
        assert_eq!(ground.run(&["mount", "-o", &options, "m"]), ok());
        fs::remove_dir(ground.at("m/d")).unwrap();
        // A directory in the place of a whiteout is opaque.
        fs::create_dir(ground.at("m/d")).unwrap();
        let mut value = [0; 8];
        let name = format!("{prefix}.overlay.opaque");
        let length = rustix::fs::lgetxattr(ground.at("u/d"), name.as_str(), &mut value).unwrap();
        assert_eq!(&value[..length], b"y");
    }
}

#[test]
fn statistics_are_written_on_demand_and_at_the_end() {
    if !can_mount("statistics_are_written_on_demand_and_at_the_end") {
        return;
    }
    let ground = Ground::new();
    fs::write(ground.at("l/f"), "12345").unwrap();
    let mut server = Foreground::start(&ground, &["--stats"]);
    fs::write(ground.at("m/f"), "x").unwrap();
    server.signal(Signal::USR1);
    let report = server.says("copied_bytes ");
    assert!(report.iter().any(|line| line == "copy_ups 1"), "{report:#?}");
    assert!(report.iter().any(|line| line.starts_with("nodes ")), "{report:#?}");
    assert!(report.iter().any(|line| line.starts_with("fds ")), "{report:#?}");
    assert!(report.iter().any(|line| line.starts_with("operation.lookup ")), "{report:#?}");
    server.signal(Signal::TERM);
    server.says("copied_bytes ");
    assert_eq!(server.ends(), Some(0));
}

#[test]
fn a_background_server_writes_its_statistics_to_the_file() {
    if !can_mount("a_background_server_writes_its_statistics_to_the_file") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["--stats=numbers"]);
    let server = ground.server();
    assert_eq!(ground.run(&["umount", "m"]), ok());
    server.ends();
    let numbers = fs::read_to_string(ground.at("numbers")).unwrap();
    assert!(numbers.contains("\ncopy_ups 0\n"), "{numbers}");
}

#[test]
fn the_log_goes_to_its_file() {
    if !can_mount("the_log_goes_to_its_file") {
        return;
    }
    let ground = Ground::new();
    ground.mount(&["--log", "messages", "--log-level", "info"]);
    let server = ground.server();
    server.signal(Signal::TERM);
    server.ends();
    let log = fs::read_to_string(ground.at("messages")).unwrap();
    assert!(log.contains("unmounted"), "{log}");
}

#[test]
fn a_mount_can_say_what_was_chosen() {
    if !can_mount("a_mount_can_say_what_was_chosen") {
        return;
    }
    let ground = Ground::new();
    let said = ground.run(&["mount", "-v", "-o", "lowerdir=l,upperdir=u,workdir=w,userxattr", "m"]);
    assert_eq!((said.status, said.stdout.as_str()), (Some(0), ""));
    for part in ["data path cached", "transport dev", "protocol 7.", "lower 1 `l`", "upper `u`"] {
        assert!(said.stderr.contains(part), "{part} is not in:\n{}", said.stderr);
    }
}

#[test]
fn other_users_see_the_mounts_of_root() {
    if !can_mount("other_users_see_the_mounts_of_root") {
        return;
    }
    let ground = Ground::new();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(ground.root(), open).unwrap();
    fs::write(ground.at("l/f"), "for all").unwrap();
    ground.mount(&[]);
    let mut cat = Command::new("cat");
    cat.arg(ground.at("m/f"));
    let nobody = 65534;
    std::os::unix::process::CommandExt::uid(&mut cat, nobody);
    assert_eq!(run(&mut cat).stdout, "for all");
}

#[test]
fn the_mounter_keeps_its_umask_to_itself() {
    if !can_mount("the_mounter_keeps_its_umask_to_itself") {
        return;
    }
    let ground = Ground::new();
    let script = "umask 077; exec \"$0\" mount -o lowerdir=l,upperdir=u,workdir=w m";
    let mica = env!("CARGO_BIN_EXE_mica");
    let mut command = ground.mica(&[]);
    let marked: Vec<_> = command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap().to_owned())).collect();
    command = Command::new("sh");
    command.args(["-c", script, mica]).current_dir(ground.root()).envs(marked);
    assert_eq!(run(&mut command), ok());
    let touched = run(Command::new("sh").arg("-c").arg("umask 022; touch f; mkdir d").current_dir(ground.at("m")));
    assert_eq!(touched.status, Some(0));
    assert_eq!(fs::metadata(ground.at("u/f")).unwrap().mode() & 0o7777, 0o644);
    assert_eq!(fs::metadata(ground.at("u/d")).unwrap().mode() & 0o7777, 0o755);
}

/// A server in the foreground, whose stderr the test reads.
#[derive(Debug)]
struct Foreground {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
    server: Server,
}

impl Foreground {
    /// Mounts with `-f` and waits until the mount answers.
    fn start(ground: &Ground, more: &[&str]) -> Self {
        let options = "lowerdir=l,upperdir=u,workdir=w,userxattr";
        let mount = [&["mount", "-f", "-v", "-o", options, "m"], more].concat();
        let mut child = ground.mica(&mount).stderr(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap());
        let server = Server::watch(rustix::process::Pid::from_child(&child));
        let mut started = Self { child, said, server };
        started.says("mounted");
        started
    }

    /// Reads until a line contains `text`; returns the lines.
    #[track_caller]
    fn says(&mut self, text: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        loop {
            let mut line = String::new();
            let length = self.said.read_line(&mut line).unwrap();
            assert_ne!(length, 0, "{text} was not said, but {lines:#?}");
            lines.push(line.trim_end().to_owned());
            if line.contains(text) {
                return lines;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        self.server.signal(signal);
    }

    /// Waits for the end; returns the status, or nothing for a signal.
    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        self.server.ends();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn only_a_mount_of_mica_is_unmounted() {
    let ground = Ground::new();
    let refused = |stderr: &str| Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: stderr.into(),
    };
    assert_eq!(
        ground.run(&["umount", "m"]),
        refused(
            "error: cannot unmount `m`\n\
             caused by: nothing is mounted there\n\
             hint: `findmnt -t fuse.mica` lists the mounts of Mica\n"
        )
    );
    assert_eq!(
        ground.run(&["umount", "nowhere"]),
        refused(
            "error: cannot unmount `nowhere`\n\
             caused by:\n  \
               1: `nowhere` cannot be reached\n  \
               2: no such file or directory (ENOENT)\n\
             hint: `findmnt -t fuse.mica` lists the mounts of Mica\n"
        )
    );
    assert_eq!(
        run(&mut mica(&["umount", "/proc"])),
        refused(
            "error: cannot unmount `/proc`\n\
             caused by: the mount there is not of Mica, but of type `proc`\n\
             hint: unmount it with `umount /proc`\n"
        )
    );
}
