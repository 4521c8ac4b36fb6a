//! `mica do`: how a program is found, and what the status is where it is not.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use rustix::io::Errno;

use crate::do_run::Place;
use crate::ground::{can_mount, run};

/// Files that a program may be.
fn fill(place: &Place) {
    let at = |path: &str| place.at("d").join(path);
    fs::create_dir_all(at("bin/dir")).unwrap();
    let put = |path: &str, text: &str, mode| {
        fs::write(at(path), text).unwrap();
        fs::set_permissions(at(path), Permissions::from_mode(mode)).unwrap();
    };
    put("bin/good", "#!/bin/sh\necho good\n", 0o755);
    put("here", "#!/bin/sh\necho here\n", 0o755);
    put("bin/plain", "#!/bin/sh\n", 0o644);
    put("bin/bare", "echo bare\n", 0o755);
    put("bin/lost", "#!/no/such/interpreter\n", 0o755);
    symlink("good", at("bin/link")).unwrap();
    symlink("nothing", at("bin/dangling")).unwrap();
}

#[test]
fn a_program_is_found_as_execvp_finds_it() {
    if !can_mount("a_program_is_found_as_execvp_finds_it") {
        return;
    }
    let place = Place::new();
    fill(&place);
    let bin = place.at("d/bin");
    let absolute = bin.join("good");
    let both = format!("{}:/usr/bin:/bin", bin.display());
    let empty = ":/usr/bin:/bin".to_owned();
    let missing = Some(Errno::NOENT);
    let denied = Some(Errno::ACCESS);
    // Program, PATH, status, output or errno.
    let table = [
        (absolute.to_str().unwrap(), &both, 0, "good\n", None),
        ("./bin/good", &both, 0, "good\n", None),
        ("good", &both, 0, "good\n", None),
        ("here", &empty, 0, "here\n", None),
        ("here", &both, 127, "", missing),
        ("link", &both, 0, "good\n", None),
        ("dangling", &both, 127, "", missing),
        ("./bin/dangling", &both, 127, "", missing),
        ("./bin/dir", &both, 126, "", denied),
        ("plain", &both, 126, "", denied),
        ("./bin/plain", &both, 126, "", denied),
        // A shell runs what has no interpreter.
        ("bare", &both, 0, "bare\n", None),
        ("lost", &both, 127, "", missing),
        ("./kept/below", &both, 127, "", Some(Errno::NOTDIR)),
        ("", &both, 127, "", missing),
    ];
    for (program, path, status, stdout, errno) in table {
        let mut command = place.mica(&["do", "--rm", "--", program]);
        let done = run(command.env("PATH", path));
        let said = (done.status, done.stdout.as_str());
        assert_eq!(said, (Some(status), stdout), "{program}: {done:?}");
        if let Some(errno) = errno {
            let name = match errno {
                Errno::NOENT => "(ENOENT)",
                Errno::NOTDIR => "(ENOTDIR)",
                _ => "(EACCES)",
            };
            assert!(done.stderr.contains(name), "{program}: {done:?}");
        }
    }
}

#[test]
fn a_program_of_the_session_alone_is_run_and_one_on_a_noexec_mount_is_not() {
    let test = "a_program_of_the_session_alone_is_run_and_one_on_a_noexec_mount_is_not";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    fill(&place);
    let make = "cp bin/good new; mkdir away; cp /bin/true /dev/shm/x; /dev/shm/x; echo $?";
    let made = run(&mut place.script(&["--name", "n"], make));
    assert_eq!(made.stdout, "126\n", "{made:?}");
    let new = run(&mut place.mica(&["do", "--name", "n", "--", "./new"]));
    assert_eq!(
        (new.status, new.stdout.as_str()),
        (Some(0), "good\n"),
        "{new:?}"
    );
    let gone = run(&mut place.script(&["--name", "n"], "rm new"));
    assert_eq!(gone.status, Some(0));
    let new = run(&mut place.mica(&["do", "--name", "n", "--", "./new"]));
    assert_eq!(new.status, Some(127), "{new:?}");
}

#[test]
fn a_directory_that_the_session_does_not_have_is_no_place_to_begin() {
    let test = "a_directory_that_the_session_does_not_have_is_no_place_to_begin";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/away")).unwrap();
    let gone = run(&mut place.script(&["--name", "n"], "rmdir away"));
    assert_eq!(gone.status, Some(0));
    let away = place.at("d/away");
    // What was asked for has to be there, what happens to be the current directory has not.
    let asked = run(&mut place.mica(&[
        "do",
        "--name",
        "n",
        "-C",
        away.to_str().unwrap(),
        "--",
        "pwd",
    ]));
    assert_eq!(asked.status, Some(125), "{asked:?}");
    assert!(asked.stderr.contains("(ENOENT)"), "{asked:?}");
    let mut near = place.mica(&["do", "--name", "n", "--", "pwd"]);
    let near = run(near.current_dir(&away));
    assert_eq!(
        (near.status, near.stdout.as_str()),
        (Some(0), "/\n"),
        "{near:?}"
    );
}
