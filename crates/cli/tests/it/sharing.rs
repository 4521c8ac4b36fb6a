//! Directories that another mount writes to.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use rustix::fs::FlockOperation;
use rustix::mount::MountFlags;

use crate::features::fuse_overlayfs;
use crate::ground::{Ground, LIMIT, Outcome, can_mount, ok, run, skipped};

const OPTIONS: &str = "lowerdir=l,upperdir=u,workdir=w";

/// A shell in a mount namespace of its own, which runs a script and then waits.
#[derive(Debug)]
struct Elsewhere(Child);

impl Elsewhere {
    /// Starts it, and returns when the script is done.
    #[track_caller]
    fn start(ground: &Ground, script: &str) -> Self {
        let mut command = Command::new("unshare");
        let script = format!("{script} && echo done && exec cat");
        command.args(["-m", "sh", "-ec", &script]);
        ground
            .here(&mut command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut said = [0; 5];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Mounts by the kernel at `k`, with absolute paths.
#[track_caller]
fn mount_kernel(ground: &Ground, upper: &str, work: &str) {
    fs::create_dir_all(ground.at("k")).unwrap();
    let at = |name: &str| ground.at(name).to_str().unwrap().replace(',', "\\,");
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("l"),
        at(upper),
        at(work)
    );
    let options = std::ffi::CString::new(options).unwrap();
    let flags = MountFlags::empty();
    rustix::mount::mount("o", ground.at("k"), "overlay", flags, options.as_c_str()).unwrap();
}

fn refusal(cause: &str, hint: &str) -> Outcome {
    Outcome {
        status: Some(1),
        stdout: String::new(),
        stderr: format!(
            "error: cannot mount at `m`\ncaused by: {cause}\nhint: {hint}; or give this mount an upperdir and a workdir of its own\n"
        ),
    }
}

#[test]
fn ovl_82_an_upper_of_the_kernel_is_refused() {
    if !can_mount("ovl_82_an_upper_of_the_kernel_is_refused") {
        return;
    }
    let ground = Ground::new();
    mount_kernel(&ground, "u", "w");
    let hint = "`umount $/k` ends it";
    for (options, dir) in [
        (OPTIONS, "upperdir `u`"),
        ("lowerdir=l,upperdir=u,workdir=w2", "upperdir `u`"),
        ("lowerdir=l,upperdir=u2,workdir=w", "workdir `w`"),
    ] {
        for name in ["u2", "w2"] {
            fs::create_dir_all(ground.at(name)).unwrap();
        }
        let cause = format!("{dir} is in use by the kernel's overlay at `$/k`");
        assert_eq!(
            ground.run(&["mount", "-o", options, "m"]),
            refusal(&cause, hint)
        );
    }
    assert_eq!(run(Command::new("umount").arg(ground.at("k"))), ok());
    assert_eq!(ground.run(&["mount", "-o", OPTIONS, "m"]), ok());
}

#[test]
fn an_upper_of_the_kernel_is_found_through_escapes_and_links() {
    if !can_mount("an_upper_of_the_kernel_is_found_through_escapes_and_links") {
        return;
    }
    let ground = Ground::new();
    fs::create_dir(ground.at("a, b")).unwrap();
    std::os::unix::fs::symlink(ground.at("a, b"), ground.at("u1")).unwrap();
    mount_kernel(&ground, "a, b", "w");
    let options = "lowerdir=l,upperdir=u1,workdir=w2";
    fs::create_dir(ground.at("w2")).unwrap();
    let expected = refusal(
        "upperdir `u1` is in use by the kernel's overlay at `$/k`",
        "`umount $/k` ends it",
    );
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), expected);
}

#[test]
fn an_upper_of_the_kernel_in_another_namespace_is_refused() {
    if !can_mount("an_upper_of_the_kernel_in_another_namespace_is_refused") {
        return;
    }
    let ground = Ground::alone();
    fs::create_dir(ground.at("k")).unwrap();
    let other = Elsewhere::start(
        &ground,
        "mount -i -t overlay -o lowerdir=$PWD/l,upperdir=$PWD/u,workdir=$PWD/w o k",
    );
    let pid = other.pid();
    let cause = format!(
        "upperdir `u` is in use by the kernel's overlay at `$/k` in the mount namespace of process {pid}"
    );
    let hint = format!("`nsenter -t {pid} -m umount $/k` ends it");
    let refused = ground.run(&["mount", "-o", OPTIONS, "m"]);
    assert_eq!(refused, refusal(&cause, &hint));
    // The hint does what it says.
    let pid = pid.to_string();
    let mut umount = Command::new("nsenter");
    umount
        .args(["-t", &pid, "-m", "umount"])
        .arg(ground.at("k"));
    assert_eq!(run(&mut umount), ok());
    assert_eq!(ground.run(&["mount", "-o", OPTIONS, "m"]), ok());
}

#[test]
fn a_mount_of_another_namespace_that_ends_is_waited_for() {
    if !can_mount("a_mount_of_another_namespace_that_ends_is_waited_for") {
        return;
    }
    let ground = Ground::alone();
    mount_kernel(&ground, "u", "w");
    let other = Elsewhere::start(&ground, "true");
    assert_eq!(run(Command::new("umount").arg(ground.at("k"))), ok());
    let mut mount = ground.mica(&["mount", "-o", OPTIONS, "m"]);
    mount.stdin(Stdio::null()).stdout(Stdio::null());
    let mount = mount.stderr(fs::File::create(ground.at("said")).unwrap());
    let mut mount = mount.spawn().unwrap();
    // It looks for other mounts when it has locked its directories.
    let begun = Instant::now();
    let work = fs::File::open(ground.at("w")).unwrap();
    let opened = || rustix::fs::flock(&work, FlockOperation::NonBlockingLockShared).is_err();
    while !opened() {
        assert!(begun.elapsed() < LIMIT, "it locks no work directory");
        rustix::fs::flock(&work, FlockOperation::Unlock).unwrap();
        thread::yield_now();
    }
    drop(other);
    let status = mount.wait().unwrap();
    let said = fs::read_to_string(ground.at("said")).unwrap();
    assert_eq!((status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn paths_that_lead_nowhere_are_asked_of_the_kernel() {
    if !can_mount("paths_that_lead_nowhere_are_asked_of_the_kernel") {
        return;
    }
    let ground = Ground::alone();
    let mount = "mount -i -t overlay -o lowerdir=l,upperdir=u,workdir=w o k";
    fs::create_dir_all(ground.at("other/u")).unwrap();
    for name in ["k", "other/w"] {
        fs::create_dir(ground.at(name)).unwrap();
    }
    let mut here = Command::new("sh");
    assert_eq!(run(ground.here(here.args(["-c", mount]))), ok());
    let expected = refusal(
        "upperdir `u` is in use by the kernel's overlay at `$/k`",
        "`umount $/k` ends it",
    );
    assert_eq!(ground.run(&["mount", "-o", OPTIONS, "m"]), expected);
    // Another directory that ends in the same relative path is free.
    let free = "lowerdir=l,upperdir=other/u,workdir=other/w";
    assert_eq!(ground.run(&["mount", "-o", free, "m"]), ok());
}

#[test]
fn an_upper_of_a_mount_in_another_namespace_is_named_by_it() {
    if !can_mount("an_upper_of_a_mount_in_another_namespace_is_named_by_it") {
        return;
    }
    let ground = Ground::alone();
    let mica = env!("CARGO_BIN_EXE_mica");
    let other = Elsewhere::start(&ground, &format!("{mica} mount -o {OPTIONS} m"));
    let pid = other.pid();
    let cause = format!(
        "upperdir `u` is in use by the mount of Mica at `$/m` in the mount namespace of process {pid}"
    );
    let refused = ground.run(&["mount", "-o", OPTIONS, "m"]);
    // A server keeps the namespace that it was started in, too, so the process may be either.
    let server = ground.server().pid();
    let by_server = cause.replace(&format!("process {pid}"), &format!("process {server}"));
    assert!(
        refused.stderr.contains(&cause) || refused.stderr.contains(&by_server),
        "{}",
        refused.stderr
    );
    refused.assert_said("hint: `nsenter -t ");
    let namespace = format!("{pid}");
    let mut umount = Command::new("nsenter");
    umount
        .args(["-t", &namespace, "-m", "umount"])
        .arg(ground.at("m"));
    assert_eq!(run(&mut umount), ok());
    assert_eq!(ground.run(&["mount", "-o", OPTIONS, "m"]), ok());
}

#[test]
fn a_mount_whose_copy_lives_in_another_namespace_is_still_in_use() {
    if !can_mount("a_mount_whose_copy_lives_in_another_namespace_is_still_in_use") {
        return;
    }
    let ground = Ground::alone();
    ground.mount(&[]);
    let other = Elsewhere::start(&ground, "true");
    ground.unmount("m");
    let refused = ground.run(&[
        "mount",
        "-o",
        "lowerdir=l,upperdir=u,workdir=w,userxattr",
        "m",
    ]);
    let named = format!(
        "by the mount of Mica at `$/m` in the mount namespace of process {}",
        other.pid()
    );
    refused.assert_said(&named);
    let server = ground.server();
    drop(other);
    // Its last copy is gone: so is the mount.
    server.ends();
    ground.mount(&[]);
}

#[test]
fn a_lower_that_another_mount_writes_to_is_warned_of() {
    if !can_mount("a_lower_that_another_mount_writes_to_is_warned_of") {
        return;
    }
    let ground = Ground::new();
    mount_kernel(&ground, "u", "w");
    fs::create_dir(ground.at("m2")).unwrap();
    let said = ground.run(&["mount", "-o", "lowerdir=u:l", "m"]);
    let warning = "warning: lowerdir `u` is written to by the kernel's overlay at `$/k`: what both show is undefined\n\
                   hint: `umount $/k` ends it; or copy the lower with `cp -a` and use the copy\n";
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), warning));
    ground.unmount("m");
    assert_eq!(run(Command::new("umount").arg(ground.at("k"))), ok());
    ground.mount(&[]);
    let said = ground.run(&["mount", "-o", "lowerdir=u:l,userxattr", "m2"]);
    let warning = "warning: lowerdir `u` is written to by the mount of Mica at `$/m`: what both show is undefined\n\
                   hint: `mica umount $/m` ends it; or copy the lower with `cp -a` and use the copy\n";
    assert_eq!((said.status, said.stderr.as_str()), (Some(0), warning));
}

/// Mounts by fuse-overlayfs, with what comes before the names in its paths.
#[track_caller]
fn refused_beside_fuse_overlayfs(test: &str, version: &str, paths: &[&str]) {
    if !can_mount(test) {
        return;
    }
    let Some(program) = fuse_overlayfs(version) else {
        skipped(test, &format!("needs fuse-overlayfs {version}"));
        return;
    };
    let ground = Ground::new();
    fs::create_dir(ground.at("k")).unwrap();
    let expected = refusal(
        "upperdir `u` is in use by the fuse-overlayfs mount at `$/k`",
        "`umount $/k` ends it",
    );
    for name in ["other/u", "other/w"] {
        fs::create_dir_all(ground.at(name)).unwrap();
    }
    for at in paths {
        let options = format!("lowerdir={at}l,upperdir={at}u,workdir={at}w");
        let script = format!("{program} -o {options} k >/dev/null 2>&1");
        let mut other = Command::new("sh");
        assert_eq!(run(ground.here(other.args(["-ec", &script]))), ok());
        let refused = ground.run(&["mount", "-o", OPTIONS, "m"]);
        // Another directory that ends in the same relative path is free.
        let free = "lowerdir=l,upperdir=other/u,workdir=other/w";
        assert_eq!(ground.run(&["mount", "-o", free, "m"]), ok());
        ground.unmount("m");
        assert_eq!(run(Command::new("umount").arg(ground.at("k"))), ok());
        assert_eq!(refused, expected);
    }
}

#[test]
fn an_upper_of_fuse_overlayfs_is_refused() {
    refused_beside_fuse_overlayfs(
        "an_upper_of_fuse_overlayfs_is_refused",
        "1.",
        &["$PWD/", ""],
    );
}

#[test]
fn an_upper_of_fuse_overlayfs_2_is_refused() {
    // Each in a directory of its own: a server that ends unmounts once more, whatever is there then.
    let test = "an_upper_of_fuse_overlayfs_2_is_refused";
    for at in ["$PWD/", ""] {
        refused_beside_fuse_overlayfs(test, "2.0.0", &[at]);
    }
}

#[test]
fn a_server_that_is_about_to_end_is_waited_for() {
    if !can_mount("a_server_that_is_about_to_end_is_waited_for") {
        return;
    }
    for options in [
        "lowerdir=u:l,userxattr",
        "lowerdir=l,upperdir=u,workdir=w,userxattr",
    ] {
        let ground = Ground::new();
        // As a server in its last moments this process has the lock, and no mount.
        let upper = fs::File::open(ground.at("u")).unwrap();
        rustix::fs::flock(&upper, FlockOperation::LockExclusive).unwrap();
        let mut next = ground.mica(&["mount", "-f", "-v", "-o", options, "m"]);
        let mut next = next.stderr(Stdio::piped()).spawn().unwrap();
        let channel = format!("/proc/{}/wchan", next.id());
        let deadline = Instant::now() + LIMIT;
        while !fs::read_to_string(&channel).unwrap().contains("nanosleep") {
            assert!(Instant::now() < deadline, "the mount does not wait");
            thread::yield_now();
        }
        drop(upper);
        let mut said = String::new();
        let mut stderr = BufReader::new(next.stderr.take().unwrap());
        stderr.read_line(&mut said).unwrap();
        assert!(said.starts_with("mounted at "), "{said}");
        ground.unmount("m");
        assert!(next.wait().unwrap().success());
    }
}
