//! `mica check`: what is wrong is made for real, found, repaired where it can be, and then both drivers show the same tree.

mod cases;
mod hostile;

use std::fs;

use mica_overlay::{Redirects, XattrNamespace};
use mica_testkit::{Detail, KernelMount, assert_same, dump_host, hash_tree};
use rustix::fs::{FileType, Mode, XattrFlags, lsetxattr, mknodat};
use serde_json::Value;

use crate::ground::{Ground, Outcome, can_mount, is_root, ok};
use cases::cases;

/// Gives an object of the upper a mark.
fn mark(ground: &Ground, path: &str, name: &str, value: &[u8]) {
    let name = match name.starts_with("user.") {
        true => name.to_owned(),
        false => format!("trusted.overlay.{name}"),
    };
    lsetxattr(ground.at(path), name, value, XattrFlags::empty()).unwrap();
}

fn device(ground: &Ground, path: &str) {
    let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
    mknodat(rustix::fs::CWD, ground.at(path), kind, mode, 0).unwrap();
}

fn file(ground: &Ground, path: &str, data: &str) {
    fs::create_dir_all(ground.at(path).parent().unwrap()).unwrap();
    fs::write(ground.at(path), data).unwrap();
}

fn dir(ground: &Ground, path: &str) {
    fs::create_dir_all(ground.at(path)).unwrap();
}

/// A ground with a lower of some objects.
fn stack() -> Ground {
    let ground = Ground::new();
    for name in ["l/d/a", "l/d/b", "l/e/c", "l/f"] {
        file(&ground, name, name);
    }
    ground
}

/// Runs a check of all directories.
#[track_caller]
fn check(ground: &Ground, more: &[&str]) -> Outcome {
    let line = ["check", "u", "--work", "w", "--lower", "l"];
    ground.run(&[&line, more].concat())
}

/// Runs a check and returns the JSON object that it prints.
#[track_caller]
fn check_json(ground: &Ground, more: &[&str]) -> (Option<i32>, Value) {
    let outcome = check(ground, &[&["--json"], more].concat());
    assert_eq!(outcome.stderr, "");
    (
        outcome.status,
        serde_json::from_str(&outcome.stdout).unwrap(),
    )
}

fn kinds(report: &Value, list: &str) -> Vec<(String, String)> {
    let text = |found: &Value, field: &str| found[field].as_str().unwrap().to_owned();
    let all = report[list].as_array().unwrap().iter();
    all.map(|found| (text(found, "kind"), text(found, "path")))
        .collect()
}

#[test]
fn ovl_150_all_that_can_be_wrong_is_found_and_what_can_be_is_repaired_for_both_drivers() {
    let test =
        "ovl_150_all_that_can_be_wrong_is_found_and_what_can_be_is_repaired_for_both_drivers";
    if !can_mount(test) || !KernelMount::is_possible(test) {
        return;
    }
    for (case, make, severity, kind, path, repairs) in cases() {
        let ground = stack();
        make(&ground);
        let lower = hash_tree(&ground.at("l"));
        let wanted = vec![((*kind).to_owned(), (*path).to_owned())];

        let (status, report) = check_json(&ground, &[]);
        assert_eq!(kinds(&report, "findings"), wanted, "{case}: {report}");
        let found = &report["findings"][0];
        assert_eq!(found["severity"], *severity, "{case}");
        assert_eq!(status, Some(i32::from(*severity != "note")), "{case}");
        assert_eq!(found["repair"].is_string(), *repairs, "{case}: {found}");

        let (status, report) = check_json(&ground, &["--repair"]);
        let (left, done) = (kinds(&report, "findings"), kinds(&report, "repaired"));
        let (want_left, want_done) = match repairs {
            true => (Vec::new(), wanted),
            false => (wanted, Vec::new()),
        };
        assert_eq!((left, done), (want_left, want_done), "{case}: {report}");
        assert_eq!(
            status,
            Some(i32::from(!repairs && *severity != "note")),
            "{case}"
        );
        let (_, again) = check_json(&ground, &["--repair"]);
        assert_eq!(again["repaired"].as_array().unwrap().len(), 0, "{case}");
        if *repairs {
            both_drivers_agree(&ground, case);
        }
        assert_eq!(
            hash_tree(&ground.at("l")),
            lower,
            "{case}: the lower changed"
        );
    }
}

/// Mounts the stack with both drivers and compares what they show.
#[track_caller]
fn both_drivers_agree(ground: &Ground, what: &str) {
    let (lowers, xattrs) = ([ground.at("l")], XattrNamespace::Trusted);
    let kernel = KernelMount::new(
        &lowers,
        &ground.at("u"),
        &ground.at("w"),
        xattrs,
        Redirects::On,
    )
    .unwrap();
    let expected = kernel.dump(Detail::empty());
    drop(kernel);
    let options = "lowerdir=l,upperdir=u,workdir=w";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok(), "{what}");
    let found = dump_host(&ground.at("m"), Detail::empty());
    assert_eq!(ground.run(&["umount", "m"]), ok(), "{what}");
    assert_same(&expected, &found, what);
}

#[test]
fn a_check_says_what_it_found_in_words_and_what_would_mend_it() {
    if !is_root("a_check_says_what_it_found_in_words_and_what_would_mend_it") {
        return;
    }
    let ground = stack();
    mark(&ground, "u", "opaque", b"y");
    dir(&ground, "u/a\nb");
    mark(&ground, "u/a\nb", "redirect", b"gone");
    let said = check(&ground, &[]);
    assert_eq!(said.status, Some(1));
    assert_eq!(
        said.stdout,
        "warning: `/`: the root is marked opaque, which no mount heeds (`--repair`: remove `trusted.overlay.opaque`)\n\
         error: `/a\\nb`: `redirect` leads to `gone`, where no lower has a directory: what it showed is gone \
         (`mica convert UPPER --no-redirects --lower DIR` makes the upper plain)\n\
         not clean: 2 objects, 1 error, 1 warning, 0 notes\n"
    );
    let said = check(&ground, &["--repair"]);
    assert!(said.stdout.starts_with(
        "repaired: `/`: the root is marked opaque, which no mount heeds; did: remove `trusted.overlay.opaque`\n"
    ));
}

#[test]
fn a_directory_with_copied_up_entries_that_lost_impure_gets_it_back() {
    let test = "a_directory_with_copied_up_entries_that_lost_impure_gets_it_back";
    if !can_mount(test) || !KernelMount::is_possible(test) {
        return;
    }
    let ground = stack();
    let options = "lowerdir=l,upperdir=u,workdir=w";
    assert_eq!(ground.run(&["mount", "-o", options, "m"]), ok());
    fs::write(ground.at("m/d/a"), "changed").unwrap();
    ground.unmount("m");
    let name = "trusted.overlay.impure";
    rustix::fs::lremovexattr(ground.at("u/d"), name).unwrap();
    let wanted = [("impure-missing".to_owned(), "/d".to_owned())];
    for line in [
        &["check", "--json", "u"][..],
        &["check", "--json", "u", "--lower", "l"],
    ] {
        let said = ground.run(line);
        let report = serde_json::from_str(&said.stdout).unwrap();
        assert_eq!(kinds(&report, "findings"), wanted);
    }
    let (status, report) = check_json(&ground, &["--repair"]);
    assert_eq!(
        (status, kinds(&report, "repaired")),
        (Some(0), wanted.to_vec())
    );
    both_drivers_agree(&ground, test);
}

#[test]
fn a_directory_that_a_mount_uses_is_refused() {
    if !can_mount("a_directory_that_a_mount_uses_is_refused") {
        return;
    }
    let ground = stack();
    ground.mount(&[]);
    for line in [
        &["check", "u"][..],
        &["check", "u", "--work", "w", "--repair"],
    ] {
        let said = ground.run(line);
        assert_eq!(said.status, Some(1));
        said.assert_said("is in use by the mount of Mica at `$/m`");
        said.assert_said("hint: `mica umount $/m` ends it");
    }
    ground.unmount("m");
    assert_eq!(ground.run(&["check", "u"]).status, Some(0));
}

#[test]
fn what_hides_nothing_stays_if_the_lowers_may_be_the_wrong_ones() {
    if !is_root("what_hides_nothing_stays_if_the_lowers_may_be_the_wrong_ones") {
        return;
    }
    let ground = stack();
    dir(&ground, "u/d");
    device(&ground, "u/d/none");
    dir(&ground, "u/copied");
    mark(&ground, "u/copied", "origin", b"");
    let (_, report) = check_json(&ground, &["--repair"]);
    assert_eq!(report["repaired"].as_array().unwrap().len(), 0, "{report}");
    assert!(ground.at("u/d/none").symlink_metadata().is_ok());
}

#[test]
fn a_redirect_under_user_overlay_is_noted_as_one_that_the_kernel_does_not_follow() {
    if !is_root("a_redirect_under_user_overlay_is_noted_as_one_that_the_kernel_does_not_follow") {
        return;
    }
    let ground = stack();
    dir(&ground, "u/moved");
    mark(&ground, "u/moved", "user.overlay.redirect", b"/d");
    let said = check(&ground, &[]);
    assert_eq!(said.status, Some(0));
    assert!(
        said.stdout
            .contains("note: `/moved`: a redirect under `user.overlay.`: Mica follows it"),
        "{}",
        said.stdout
    );
}
