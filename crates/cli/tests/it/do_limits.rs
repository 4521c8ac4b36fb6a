//! `mica do --size --inodes`: limits of what a session keeps in its directory.

use std::fs;

use crate::do_run::Place;
use crate::do_users::as_user;
use crate::ground::{can_mount, run};

#[test]
fn a_session_takes_no_more_than_its_size() {
    if !can_mount("a_session_takes_no_more_than_its_size") {
        return;
    }
    let place = Place::new();
    // `a` is overwritten in place; what is deleted gives room when nobody has it open any more.
    let script = "fill() { head -c $1 /dev/zero > $2 2>/dev/null && echo $2 || echo no $2; }; \
                  fill 3M a; echo $(df -k --output=size . | tail -n 1); fill 3M b; rm -f b; \
                  dd if=/dev/zero of=a bs=64k count=48 conv=notrunc 2>/dev/null && echo over; \
                  exec 3<a; rm a; fill 3M c; rm -f c; exec 3<&-; fill 3M d; \
                  truncate -s 1G e && echo sparse; echo x > changed || echo full";
    let done = run(&mut place.script(&["--name", "n", "--size", "4m"], script));
    let expected = "a\n4096\nno b\nover\nno c\nd\nsparse\n";
    assert_eq!(done.stdout, expected, "{done:?}");
    // What was there before counts.
    let again = run(&mut place.script(
        &["--name", "n", "--size", "4m"],
        "head -c 2M /dev/zero > more",
    ));
    assert_eq!(again.status, Some(1), "{again:?}");
    again.assert_said("No space left on device");
    let more = run(&mut place.script(
        &["--name", "n", "--size", "8m"],
        "head -c 2M /dev/zero > more",
    ));
    assert_eq!(more.status, Some(0), "{more:?}");
}

#[test]
fn a_session_has_no_more_objects_than_it_may() {
    if !can_mount("a_session_has_no_more_objects_than_it_may") {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("d/sub")).unwrap();
    let script = "for i in $(seq 40); do touch f$i 2>/dev/null || break; done; echo $i; touch new 2>&1; \
                  rm f1 && mkdir dir && echo again; ln f2 link && echo link; df --output=itotal . | tail -n 1";
    let done = run(&mut place.script(&["--inodes", "30"], script));
    let lines: Vec<_> = done.stdout.lines().map(str::trim).collect();
    let [made, refused, again, link, total] = lines.as_slice() else {
        panic!("{done:?}");
    };
    let made: u32 = made.parse().unwrap();
    // The directories above are copies, too.
    assert!((20..30).contains(&made), "{done:?}");
    assert!(refused.ends_with("No space left on device"), "{done:?}");
    assert_eq!((*again, *link, *total), ("again", "link", "30"), "{done:?}");
}

#[test]
fn an_ordinary_users_session_has_limits() {
    if !can_mount("an_ordinary_users_session_has_limits") {
        return;
    }
    let place = Place::new();
    let script = "../mica do --size 1m -- sh -c 'head -c 2M /dev/zero > changed; stat -c %s changed' 2>&1 | head -n 2";
    let done = as_user(&place, "true", script);
    assert!(done.stdout.contains("No space left on device"), "{done:?}");
}
