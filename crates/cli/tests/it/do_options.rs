//! `mica do`: what its options add to a session, and take from it.

use std::fs;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::do_run::Place;
use crate::ground::{can_mount, has_program, run};

/// What a script prints in a session with these options.
#[track_caller]
fn said(place: &Place, options: &[&str], script: &str) -> String {
    let mut all = vec!["--rm"];
    all.extend(options);
    let done = run(place.script(&all, script).env("LC_ALL", "C"));
    assert_eq!(done.status, Some(0), "{options:?}: {done:?}");
    done.stdout
}

#[test]
fn what_write_names_is_the_machines_own() {
    if !can_mount("what_write_names_is_the_machines_own") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/out")).unwrap();
    let script = "echo x > out/f; echo y > changed; echo z > kept; mknod out/disk b 254 0; head -c 1 out/disk 2>&1 | grep -o denied; \
                  ls ../state/mica/sessions || true";
    let out = said(&place, &["--write", "out", "--write", "changed"], script);
    assert_eq!(out, "denied\n");
    assert_eq!(fs::read_to_string(place.at("d/out/f")).unwrap(), "x\n");
    assert_eq!(fs::read_to_string(place.at("d/changed")).unwrap(), "y\n");
    assert_eq!(fs::read_to_string(place.at("d/kept")).unwrap(), "host\n");
    // Nor does it lead to the sessions.
    let all = said(
        &place,
        &["--write", ".."],
        "ls ../state/mica/sessions; touch ../state/mica/sessions/x 2>&1 | grep -o Read-only.*",
    );
    assert_eq!(all, "Read-only file system\n");
    let none = run(&mut place.script(&["--rm", "--write", "missing"], "true"));
    assert_eq!(none.status, Some(125), "{none:?}");
}

#[test]
fn bind_and_tmpfs_are_mounted_where_they_say() {
    if !can_mount("bind_and_tmpfs_are_mounted_where_they_say") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/t")).unwrap();
    fs::write(place.at("d/t/hidden"), "").unwrap();
    let dir = place.at("d");
    let (read, write, tmpfs) = (
        format!("{}:/made/here:ro", dir.join("kept").display()),
        format!("{}:/opened", dir.display()),
        dir.join("t"),
    );
    let options = [
        "--bind",
        &read,
        "--bind",
        &write,
        "--tmpfs",
        tmpfs.to_str().unwrap(),
    ];
    let script = "cat /made/here; echo x >> /made/here || echo no; echo x > /opened/new; ls t; touch t/f; stat -f -c %T t; stat -c %a t; \
                  echo mine > t/f; ls t";
    let expected = "host\nno\ntmpfs\n755\nf\n";
    assert_eq!(said(&place, &options, script), expected);
    assert_eq!(fs::read_to_string(place.at("d/new")).unwrap(), "x\n");
    assert_eq!(fs::read_to_string(place.at("d/kept")).unwrap(), "host\n");
}

#[test]
fn what_is_hidden_does_not_exist_and_what_is_read_only_stays() {
    if !can_mount("what_is_hidden_does_not_exist_and_what_is_read_only_stays") {
        return;
    }
    let place = Place::new();
    let script = "ls; cat gone 2>&1; echo mine > gone; ls";
    let out = said(&place, &["--hide", "gone"], script);
    let missing = "cat: gone: No such file or directory";
    assert_eq!(
        out,
        format!("changed\nkept\n{missing}\nchanged\ngone\nkept\n")
    );
    let tmpfs = place.at("d");
    let script = "touch /x 2>&1; touch new; ls; echo x > /dev/shm/x; cat /dev/shm/x";
    let out = said(
        &place,
        &["--ro", "--tmpfs", tmpfs.to_str().unwrap()],
        script,
    );
    assert_eq!(
        out,
        "touch: cannot touch '/x': Read-only file system\nnew\nx\n"
    );
}

#[test]
fn the_environment_is_what_the_options_make_of_it() {
    if !can_mount("the_environment_is_what_the_options_make_of_it") {
        return;
    }
    let place = Place::new();
    let script = "echo $A-$B-$HOME";
    let with = |options: &[&str]| {
        let mut all = vec!["do", "--rm"];
        all.extend(options);
        all.extend(["--", "/bin/sh", "-c", script]);
        let mut command = place.mica(&all);
        run(command.env("A", "1").env("B", "2").env("HOME", "/h")).stdout
    };
    assert_eq!(with(&[]), "1-2-/h\n");
    assert_eq!(with(&["--setenv", "A=x=y", "--unsetenv", "B"]), "x=y--/h\n");
    assert_eq!(with(&["--clearenv", "--setenv", "B="]), "--\n");
}

#[test]
fn a_session_without_a_network_has_a_loopback_device_alone() {
    let test = "a_session_without_a_network_has_a_loopback_device_alone";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "python3 -c 'import socket
for a in [(\"127.0.0.1\", {port})]:
    s = socket.socket(); print(s.connect_ex(a))
l = socket.socket(); l.bind((\"127.0.0.1\", 0)); l.listen(); print(socket.socket().connect_ex(l.getsockname()))
print(sorted(n for _, n in socket.if_nameindex())[:1])'"
    );
    // ECONNREFUSED is of this namespace: nobody listens there.
    assert_eq!(
        said(&place, &["--net", "none"], &script),
        "111\n0\n['lo']\n"
    );
    assert!(said(&place, &[], &script).starts_with("0\n0\n"));
}

#[test]
fn a_socket_of_the_machine_is_reached_if_it_is_shared() {
    let test = "a_socket_of_the_machine_is_reached_if_it_is_shared";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    let place = Place::new();
    let path = place.at("d/agent");
    let _listener = UnixListener::bind(&path).unwrap();
    let script =
        "python3 -c 'import socket; print(socket.socket(socket.AF_UNIX).connect_ex(\"agent\"))'";
    let with = |options: &[&str]| {
        let mut all = vec!["--rm"];
        all.extend(options);
        let done = run(place.script(&all, script).env("SSH_AUTH_SOCK", &path));
        assert_eq!(done.status, Some(0), "{done:?}");
        done.stdout
    };
    assert_eq!(with(&[]), "111\n");
    // The server says why, to who looks.
    run(&mut place.script(&["--name", "told"], "cat d/agent agent"));
    let log = std::fs::read_to_string(place.at("state/mica/sessions/told/log")).unwrap();
    let told = format!(
        "`{0}` is a socket of the machine, at which nobody is met (hint: `mica do --write {0}`)",
        path.display()
    );
    assert_eq!(log.matches(&told).count(), 1, "{log}");
    assert_eq!(with(&["--share=ssh"]), "0\n");
    assert_eq!(with(&["--write", "agent"]), "0\n");
    let unset = run(place
        .script(&["--share=ssh"], "true")
        .env_remove("SSH_AUTH_SOCK"));
    assert_eq!(unset.status, Some(125), "{unset:?}");
    assert!(unset.stderr.contains("ssh"), "{unset:?}");
}

#[test]
fn a_capability_is_kept_that_is_asked_for() {
    if !can_mount("a_capability_is_kept_that_is_asked_for") {
        return;
    }
    let place = Place::new();
    let script = "grep -E 'Cap(Eff|Bnd)' /proc/self/status";
    let out = said(
        &place,
        &["--cap-add", "CAP_SYS_NICE", "--cap-add=sys_time"],
        script,
    );
    let with = 0xa804_05fb_u64 | 1 << 23 | 1 << 25;
    assert_eq!(out, format!("CapEff:\t{with:016x}\nCapBnd:\t{with:016x}\n"));
    let unknown = run(&mut place.script(&["--cap-add", "FLY"], "true"));
    let expected = "error: there is no capability `FLY`\nhint: write a name of capabilities(7), such as `SYS_PTRACE`\n";
    assert_eq!(
        (unknown.status, unknown.stderr.as_str()),
        (Some(125), expected)
    );
    assert_eq!(run(&mut place.mica(&["sessions"])).stdout, "");
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    if !can_mount("a_command_that_takes_too_long_is_ended") {
        return;
    }
    let place = Place::new();
    let begin = Instant::now();
    let done = run(&mut place.script(&["--rm", "--timeout", "1s"], "sleep 1000"));
    assert_eq!(done.status, Some(124), "{done:?}");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    // Who does not end of his own accord is killed, five seconds later.
    let script = "trap '' TERM; echo begun; while :; do sleep 1; done";
    let done = run(&mut place.script(&["--rm", "--timeout", "1s"], script));
    assert_eq!((done.status, done.stdout.as_str()), (Some(124), "begun\n"));
    let in_time = run(&mut place.script(&["--rm", "--timeout", "1h"], "exit 3"));
    assert_eq!(in_time.status, Some(3));
}

#[test]
fn a_session_in_memory_counts_its_changes_and_leaves_nothing() {
    if !can_mount("a_session_in_memory_counts_its_changes_and_leaves_nothing") {
        return;
    }
    let place = Place::new();
    let script = "echo x > new; rm gone; cat new; ls; df -B1 --output=size . | tail -1 | tr -d ' '; \
                  head -c 2000000 /dev/zero > big || echo full; rm big; i=0; while mkdir $i; do i=$((i+1)); done 2>/dev/null; echo $i";
    let options = ["--memory", "--size", "1m", "--inodes", "20"];
    let done = run(place.script(&options, script).env("LC_ALL", "C"));
    let lines: Vec<_> = done.stdout.lines().collect();
    assert_eq!(
        lines[..6],
        ["x", "changed", "kept", "new", "1048576", "full"],
        "{done:?}"
    );
    assert!(lines[6].parse::<u32>().unwrap() < 20, "{done:?}");
    assert!(done.stderr.contains("1 deleted"), "{done:?}");
    assert!(done.stderr.ends_with("- removed\n"), "{done:?}");
    assert_eq!(run(&mut place.mica(&["sessions"])).stdout, "");
    for wrong in [vec!["--size", "1m"], vec!["--memory", "--name", "n"]] {
        let refused = run(&mut place.script(&wrong, "true"));
        assert_eq!(refused.status, Some(2), "{refused:?}");
    }
}

#[test]
fn a_running_session_keeps_its_view() {
    if !can_mount("a_running_session_keeps_its_view") {
        return;
    }
    let place = Place::new();
    let mut first = crate::do_live::Shell::start(&place, &["--name", "n"]);
    assert_eq!(first.say(""), "");
    let refused = run(&mut place.script(&["--name", "n", "--ro"], "true"));
    assert_eq!(refused.status, Some(125), "{refused:?}");
    assert!(refused.stderr.contains("its view stays"), "{refused:?}");
    first.end();
}
