//! `mica do` of ordinary users: directories of the machine that they may not list.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program};

/// Makes directories of root: one that nobody else enters, and one whose names are known or not found out.
fn fill(place: &Place) {
    for (name, mode) in [("closed", 0o700), ("known", 0o711)] {
        let dir = place.at("d").join(name);
        fs::create_dir_all(dir.join("below")).unwrap();
        fs::write(dir.join("f"), "host\n").unwrap();
        fs::set_permissions(&dir, Permissions::from_mode(mode)).unwrap();
    }
}

const LOOK: &str = "ls closed; echo $?; ls known; echo $?; cat closed/f; cat known/f; (cd closed) && echo in; ls; touch closed/new";

fn seen(test: &str, range: &str, options: &str) -> Option<(String, String)> {
    if !can_mount(test) || (range != "true" && !has_program(test, "newuidmap")) {
        return None;
    }
    let place = Place::new();
    fill(&place);
    let script =
        format!("LC_ALL=C ../mica do --rm {options} -- sh -c '({LOOK}) 2>&1; ls closed; ls known'");
    let done = as_user(&place, range, &script);
    let (line, stdout) = (done.stderr.lines().last().unwrap_or_default(), done.stdout);
    Some((stdout, line.to_owned()))
}

const RANGE: &str = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
const COUNTED: &str = "0 added, 0 modified, 0 deleted, 0 B, 2 directories not listable - removed";

#[test]
fn what_may_not_be_listed_is_refused_as_on_the_machine_and_counted() {
    let test = "what_may_not_be_listed_is_refused_as_on_the_machine_and_counted";
    for range in ["true", RANGE] {
        for options in ["", "--as-root"] {
            let Some((said, line)) = seen(test, range, options) else {
                return;
            };
            // To root of the session its kernel opens all.
            let ls = match options {
                "" => "ls: cannot open directory",
                _ => "ls: reading directory",
            };
            let cannot = |what: &str| format!("{what}: Permission denied\n");
            let expected = [
                cannot(&format!("{ls} 'closed'")),
                "2\n".into(),
                cannot(&format!("{ls} 'known'")),
                "2\n".into(),
                cannot("cat: closed/f"),
                "host\n".into(),
            ];
            assert!(
                said.starts_with(&expected.concat()),
                "{options} {range}: {said}"
            );
            assert_eq!(line, COUNTED, "{options} {range}");
        }
    }
}

#[test]
fn ovl_220_what_may_not_be_listed_shows_as_empty_if_that_is_wanted() {
    let test = "ovl_220_what_may_not_be_listed_shows_as_empty_if_that_is_wanted";
    for range in ["true", RANGE] {
        for options in ["--hide-unreadable", "--hide-unreadable --as-root"] {
            let Some((said, line)) = seen(test, range, options) else {
                return;
            };
            let expected = "0\n0\ncat: closed/f: No such file or directory\nhost\nin\n\
                            changed\nclosed\ngone\nkept\nknown\n\
                            touch: cannot touch 'closed/new': Permission denied\n";
            assert_eq!(said, expected, "{options} {range}");
            assert_eq!(line, COUNTED, "{options} {range}");
        }
    }
}
