//! The library without the command: crates/mica/examples/session.rs does what `mica do`, `diff`, `commit` and `sessions` do.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program};

fn example() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let example = tests.parent().unwrap().with_file_name("examples/session");
    assert!(
        example.exists(),
        "run `cargo build -p mica --examples`, which builds the examples"
    );
    example
}

#[test]
fn a_program_has_sessions_by_the_library_alone() {
    if !can_mount("a_program_has_sessions_by_the_library_alone") {
        return;
    }
    let place = Place::new();
    let dir = place.at("d");
    let script = format!(
        "cd {}; echo session > changed; rm gone; echo 1 > new; echo session > kept; echo ready; read line",
        dir.display()
    );
    let mut command = Command::new(example());
    command
        .args([place.at("store").as_os_str(), "/".as_ref()])
        .arg(script);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    stdout.read_line(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    // A conflict.
    fs::write(dir.join("kept"), "theirs\n").unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"\n").unwrap();
    said.clear();
    stdout.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{said}");
    let expected = "ended: Code(0)\n\
        changed: Changes { added: 1, modified: 2, deleted: 1, bytes: 18, unreadable: 0, unlisted: 0 }\n\
        Modified /changed [\"CONTENT\"]\n\
        Deleted /gone []\n\
        Modified /kept [\"CONTENT\"]\n\
        Added /new []\n\
        forked: again\n\
        exported: Exported { entries: ";
    // Both may be of one tick of the clock.
    let plain = said
        .replace(dir.to_str().unwrap(), "")
        .replace(", \"TIME\"", "");
    assert!(plain.starts_with(expected), "{plain}");
    for line in [
        "conflict: /kept was changed meanwhile",
        "/gone will be Removed",
        "/gone is Removed",
        "/new is Made",
    ] {
        assert!(plain.lines().any(|said| said == line), "{line}: {plain}");
    }
    assert!(!plain.contains("/kept is"), "{plain}");
    assert_eq!(
        fs::read_to_string(dir.join("changed")).unwrap(),
        "session\n"
    );
    assert_eq!(fs::read_to_string(dir.join("kept")).unwrap(), "theirs\n");
    assert!(!dir.join("gone").exists() && dir.join("new").exists());
    assert_eq!(fs::read_dir(place.at("store")).unwrap().count(), 0);
}

#[test]
fn a_program_of_an_ordinary_user_has_sessions_by_the_library_alone() {
    let test = "a_program_of_an_ordinary_user_has_sessions_by_the_library_alone";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    fs::copy(example(), place.at("session")).unwrap();
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid && \
                   chown 1 .";
    let dir = place.at("d");
    let script = format!(
        "../session ../state/store / 'cd {}; echo session > changed; rm gone; mkdir -m 700 new; echo 1 > new/f'",
        dir.display()
    );
    let done = as_user(&place, prepare, &script);
    assert_eq!(done.status, Some(0), "{done:?}");
    done.assert_said("");
    assert!(
        done.stdout
            .contains("Changes { added: 2, modified: 1, deleted: 1"),
        "{done:?}"
    );
    assert_eq!(
        fs::read_to_string(dir.join("changed")).unwrap(),
        "session\n"
    );
    assert!(!dir.join("gone").exists() && dir.join("new/f").exists());
    assert_eq!(fs::read_dir(place.at("state/store")).unwrap().count(), 0);
}
