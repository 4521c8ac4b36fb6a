//! `mica export` of the sessions of ordinary users: owners are what they are in the session.

use std::fs;

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, has_program};

/// Shows owners and modes of what is in an archive, by the names of the last directory.
const LIST: &str =
    "tar --numeric-owner -tvf ../state/l.tar | sed -n 's/ *[0-9]* 20[^/]*[/].*[/]d[/]/ /p'";

#[test]
fn owners_are_exported_as_the_session_has_them() {
    let test = "owners_are_exported_as_the_session_has_them";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/dir")).unwrap();
    fs::write(place.at("d/dir/f"), "of root").unwrap();
    let prepare = "echo daemon:100000:65536 > ../sub && mount --bind ../sub /etc/subuid && mount --bind ../sub /etc/subgid";
    let script = format!(
        "../mica do --as-root -- sh -c 'echo x > new; chown 5:6 new; echo y >> changed; mv dir moved' 2>/dev/null; \
         ../mica export 1 -o ../state/l.tar 2>&1 && {LIST}; ../mica do --name closed --as-root -- sh -c \
         'echo x > own; chown 7 own; chmod 600 own' 2>/dev/null; ../mica export closed -o ../state/l.tar 2>&1 | tail -n 2; \
         ../mica discard 1; ../mica discard closed"
    );
    let done = as_user(&place, prepare, &script);
    let expected = format!(
        "drwxr-xr-x 0/0 \n-rw-r--r-- 0/0 changed\n---------- 0/0 .wh.dir\ndrwxr-xr-x 0/0 moved/\n\
         ---------- 0/0 moved/.wh..wh..opq\n-rw-r--r-- 0/0 moved/f\n-rw-r--r-- 5/6 new\n\
         caused by: `{}/own` cannot be exported: it cannot be read: Permission denied (os error 13)\nhint: run as root\n",
        place.at("d").display()
    );
    assert_eq!(done.stdout, expected, "{done:?}");
}

#[test]
fn a_session_with_one_id_is_exported_as_its_users() {
    if !can_mount("a_session_with_one_id_is_exported_as_its_users") {
        return;
    }
    let place = Place::new();
    let script = format!(
        "../mica do -- sh -c 'echo x > new; echo y >> changed; rm gone' 2>/dev/null; \
         ../mica export 1 -o ../state/l.tar 2>&1 && {LIST}; ../mica discard 1"
    );
    let done = as_user(&place, "true", &script);
    let expected =
        "drwxr-xr-x 1/1 \n-rw-r--r-- 1/1 changed\n---------- 0/0 .wh.gone\n-rw-r--r-- 1/1 new\n";
    assert_eq!(done.stdout, expected, "{done:?}");
}
