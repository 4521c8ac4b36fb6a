//! `mica commit`: what others changed meanwhile. Nothing is committed then, and with `--force` the session's side is.

use std::process::Command;

use crate::do_run::Place;
use crate::ground::{Outcome, can_mount, has_program, run};

/// A session in a place, and what is done to the machine after it.
pub(crate) struct Case {
    pub(crate) place: Place,
}

impl Case {
    /// Runs `prepare` and the session's `script` among the files.
    #[track_caller]
    pub(crate) fn new(test: &str, prepare: &str, script: &str) -> Option<Self> {
        if !can_mount(test) {
            return None;
        }
        let case = Self {
            place: Place::new(),
        };
        case.on_machine(prepare);
        let done = run(&mut case.place.script(&[], script));
        assert_eq!(done.status, Some(0), "{done:?}");
        Some(case)
    }

    #[track_caller]
    pub(crate) fn on_machine(&self, script: &str) -> String {
        let mut command = Command::new("sh");
        let done = run(command
            .args(["-ec", script])
            .current_dir(self.place.at("d")));
        assert_eq!(done.status, Some(0), "{done:?}");
        done.stdout
    }

    pub(crate) fn commit(&self, options: &[&str]) -> Outcome {
        let arguments: Vec<_> = ["commit"].iter().chain(options).copied().collect();
        let mut done = run(&mut self.place.mica(&arguments));
        done.stderr = done
            .stderr
            .replace(&format!("{}/", self.place.at("d").display()), "");
        done
    }

    /// All that is there: names, types, modes, owners, times, contents.
    pub(crate) fn state(&self) -> String {
        self.on_machine(
            "find . -printf '%P %y %m %U:%G %n %s %T@ %l\\n' | sort; find . -type f | sort | xargs -r sha1sum",
        )
    }

    /// Checks that a commit is refused for `reason`, and changes nothing.
    #[track_caller]
    pub(crate) fn is_refused(&self, options: &[&str], reason: &str) {
        let before = self.state();
        let done = self.commit(options);
        assert_eq!(done.status, Some(1), "{done:?}");
        assert!(done.stderr.contains(reason), "{reason}: {done:?}");
        assert_eq!(self.state(), before);
        assert!(self.place.upper("1").exists());
        assert!(!self.place.at("state/mica/sessions/1/journal").exists());
    }
}

/// Does `meanwhile` after the session: the commit says `reason`, and by force `result` comes out of `look`.
#[track_caller]
fn conflict(test: &str, script: &str, meanwhile: &str, reason: &str, (look, result): (&str, &str)) {
    let prepare = "mkdir -p dir/sub; echo a > dir/a; echo b > dir/sub/b";
    let Some(case) = Case::new(test, prepare, script) else {
        return;
    };
    case.on_machine(meanwhile);
    case.is_refused(&["1"], reason);
    let forced = case.commit(&["1", "--force"]);
    assert_eq!(forced.status, Some(0), "{forced:?}");
    assert_eq!(case.on_machine(look), result);
    assert!(!case.place.at("state/mica/sessions/1").exists());
}

const CHANGED: (&str, &str) = ("cat changed", "session\n");

macro_rules! conflicts {
    ($($name:ident: $script:expr, $meanwhile:expr, $reason:expr, $look:expr;)*) => {
        $(#[test]
        fn $name() {
            conflict(stringify!($name), $script, $meanwhile, $reason, $look);
        })*
    };
}

conflicts! {
    content_that_others_changed_is_a_conflict:
        "echo session > changed", "echo other > changed", "`changed`: was changed meanwhile", CHANGED;
    a_mode_that_others_changed_is_a_conflict:
        "echo session > changed", "chmod 600 changed", "`changed`: has other permissions", CHANGED;
    an_owner_that_others_changed_is_a_conflict:
        "echo session > changed", "chown 5 changed", "`changed`: has other permissions", CHANGED;
    an_attribute_that_others_changed_is_a_conflict:
        "echo session > changed", "python3 -c 'import os; os.setxattr(\"changed\", \"user.k\", b\"v\")'",
        "`changed`: was changed meanwhile", CHANGED;
    a_time_that_others_changed_is_a_conflict:
        "echo session > changed", "touch -d @5 changed", "`changed`: was changed meanwhile", CHANGED;
    a_file_that_others_removed_is_a_conflict:
        "echo session > changed", "rm changed", "`changed`: is gone", CHANGED;
    a_file_that_has_another_type_now_is_a_conflict:
        "echo session > changed", "rm changed; mkdir changed", "`changed`: has another type now", CHANGED;
    a_file_that_was_replaced_is_a_conflict:
        "echo session > changed", "echo other > n; mv n changed", "`changed`: is another object now", CHANGED;
    a_file_that_others_renamed_is_a_conflict:
        "echo session > changed", "mv changed away", "`changed`: is gone", CHANGED;
    a_file_that_others_changed_is_not_removed:
        "rm changed", "echo other > changed", "`changed`: was changed meanwhile", ("ls", "dir\ngone\nkept\n");
    a_file_of_the_same_name_is_a_conflict:
        "echo session > new", "echo other > new", "`new`: did not exist", ("cat new", "session\n");
    a_directory_of_the_same_name_is_a_conflict:
        "echo session > new", "mkdir -p new/sub", "`new`: did not exist", ("cat new", "session\n");
    a_symlink_of_the_same_name_is_a_conflict:
        "echo session > new", "ln -s kept new", "`new`: did not exist", ("cat new kept", "session\nhost\n");
    a_new_file_in_a_directory_that_is_gone_is_a_conflict:
        "rm -r dir", "touch dir/sub/new", "dir/sub", ("ls", "changed\ngone\nkept\n");
    a_file_in_a_directory_that_is_gone_is_a_conflict_if_it_changed:
        "rm -r dir", "echo other > dir/sub/b", "dir/sub/b", ("ls", "changed\ngone\nkept\n");
    a_new_file_in_a_directory_that_was_renamed_is_a_conflict:
        "mv dir moved", "touch dir/sub/new", "dir/sub", ("ls dir moved/sub 2>&1 || true", "ls: cannot access 'dir': No such file or directory\nmoved/sub:\nb\nnew\n");
    a_file_in_a_directory_that_was_renamed_is_a_conflict_if_it_changed:
        "mv dir moved", "echo other > dir/a", "dir/a", ("cat moved/a", "other\n");
    a_new_file_in_a_directory_that_was_made_anew_is_a_conflict:
        "rm -r dir; mkdir dir; touch dir/own", "touch dir/new", "`dir`: was changed meanwhile", ("ls dir", "own\n");
    a_directory_that_became_a_symlink_is_a_conflict:
        "echo session > dir/a", "mv dir real; ln -s real dir", "`dir`: has another type now",
        ("cat dir/a real/a; test -L dir || echo directory", "session\na\ndirectory\n");
    a_directory_that_others_renamed_is_a_conflict:
        "echo session > dir/a", "mv dir away", "`dir`: is gone", ("cat dir/a", "session\n");
    a_directory_that_others_replaced_is_a_conflict:
        "echo session > dir/a", "mv dir away; mkdir dir", "`dir`: is another object now", ("cat dir/a", "session\n");
    permissions_of_a_directory_that_others_changed_are_a_conflict:
        "chmod 700 dir", "chmod 711 dir", "`dir`: has other permissions", ("stat -c %a dir", "700\n");
}

#[test]
fn a_partner_of_a_hard_link_that_others_changed_is_a_conflict() {
    let test = "a_partner_of_a_hard_link_that_others_changed_is_a_conflict";
    let Some(case) = Case::new(test, "ln kept partner", "echo session > kept") else {
        return;
    };
    case.on_machine("echo other > partner");
    case.is_refused(&["1"], "`kept`: was changed meanwhile");
    assert_eq!(case.commit(&["1", "--force"]).status, Some(0));
    // Both names still are one file.
    assert_eq!(
        case.on_machine("cat kept partner; stat -c %h kept"),
        "session\nsession\n2\n"
    );
}

#[test]
fn a_file_that_was_changed_by_one_name_and_linked_by_another_is_no_conflict() {
    let test = "a_file_that_was_changed_by_one_name_and_linked_by_another_is_no_conflict";
    let session = "echo session >> kept; ln partner third; chmod 600 p2; ln p1 p3";
    let prepare = "ln kept partner; touch p1; ln p1 p2";
    let Some(case) = Case::new(test, prepare, session) else {
        return;
    };
    let done = case.commit(&["1"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(
        case.on_machine("cat third partner; stat -c %h%a kept p1"),
        "host\nsession\nhost\nsession\n3644\n3600\n"
    );
    // Others changed it, by whatever name.
    let Some(case) = Case::new(test, prepare, session) else {
        return;
    };
    case.on_machine("echo other > p2; rm kept");
    case.is_refused(
        &["1", "./p1", "./p2", "./p3"],
        "`p1`: was changed meanwhile",
    );
}

#[test]
fn what_takes_a_name_of_a_file_with_several_does_not_change_the_others() {
    let test = "what_takes_a_name_of_a_file_with_several_does_not_change_the_others";
    // As installers do it, and two other ways.
    for session in [
        "echo session > n; ln kept k; mv n kept; rm k",
        "cat partner; chmod 644 kept; rm kept; echo session > kept",
        "cat partner; echo more >> kept; mv kept k; echo session > kept; rm k",
    ] {
        let Some(case) = Case::new(test, "ln kept partner; ln kept third", session) else {
            return;
        };
        let done = case.commit(&["1"]);
        assert_eq!(done.status, Some(0), "{session}: {done:?}");
        assert_eq!(
            case.on_machine("cat kept; head -n1 third; stat -c %h kept"),
            "session\nhost\n1\n",
            "{session}"
        );
    }
}

#[test]
fn names_that_others_make_beside_are_no_conflict() {
    let test = "names_that_others_make_beside_are_no_conflict";
    let Some(case) = Case::new(
        test,
        "mkdir dir; touch dir/f",
        "echo session > dir/f; touch dir/own",
    ) else {
        return;
    };
    case.on_machine("touch dir/other other; rm gone; echo other > kept");
    let done = case.commit(&["1"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(
        case.on_machine("cat dir/f kept; ls dir"),
        "session\nother\nf\nother\nown\n"
    );
}

#[test]
fn one_side_is_taken_for_some_paths() {
    let test = "one_side_is_taken_for_some_paths";
    let Some(case) = Case::new(
        test,
        "",
        "for f in kept changed gone; do echo session > $f; done",
    ) else {
        return;
    };
    case.on_machine("for f in kept changed; do echo other > $f; done");
    case.is_refused(&["1", "--ours", "kept"], "`changed`: was changed meanwhile");
    let done = case.commit(&["1", "--ours", "./kept", "--theirs", "changed"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(
        case.on_machine("cat kept changed gone"),
        "session\nother\nsession\n"
    );
}

#[test]
fn two_sessions_that_change_one_file_are_a_conflict() {
    let test = "two_sessions_that_change_one_file_are_a_conflict";
    let Some(case) = Case::new(test, "", "echo first > kept; echo first > changed") else {
        return;
    };
    let second = run(&mut case
        .place
        .script(&[], "echo second > kept; echo second > gone"));
    assert_eq!(second.status, Some(0), "{second:?}");
    assert_eq!(case.commit(&["2"]).status, Some(0));
    case.is_refused(&["1"], "`kept`: is another object now");
    let done = case.commit(&["1", "--theirs", "kept"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(
        case.on_machine("cat kept changed gone"),
        "second\nfirst\nsecond\n"
    );
}

#[test]
fn half_of_a_rename_is_not_committed() {
    let test = "half_of_a_rename_is_not_committed";
    let script =
        "mv dir moved; mv kept kept2; mkdir n; touch n/f; echo session > changed; touch moved/in";
    let Some(case) = Case::new(test, "mkdir dir; touch dir/f", script) else {
        return;
    };
    for half in [
        "./dir",
        "./moved",
        "./kept",
        "./kept2",
        "./n/f",
        "./moved/in",
    ] {
        case.is_refused(&["1", half], "belongs to");
    }
    let done = case.commit(&["1", "./dir", "moved", "changed"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(
        case.on_machine("ls . moved; cat changed"),
        ".:\nchanged\ngone\nkept\nmoved\n\nmoved:\nf\nin\nsession\n"
    );
    // The rest stays in the session.
    let left = run(&mut case.place.mica(&["diff", "1"])).stdout;
    let left = left.replace(&format!("{}/", case.place.at("d").display()), "");
    assert_eq!(left, "R  kept -> kept2\nA  n/\nA  n/f\n");
    assert_eq!(case.commit(&["1", "./kept", "./kept2"]).status, Some(0));
    assert_eq!(case.commit(&["1"]).status, Some(0));
    assert_eq!(case.on_machine("ls"), "changed\ngone\nkept2\nmoved\nn\n");
}

#[test]
fn a_commit_of_paths_leaves_the_times_of_directories_to_the_next() {
    let test = "a_commit_of_paths_leaves_the_times_of_directories_to_the_next";
    let session = "echo session > d/a; echo session > changed";
    let prepare = "mkdir d; touch d/a; touch -d @1000000 d";
    let Some(case) = Case::new(test, prepare, session) else {
        return;
    };
    for paths in [&["1", "./d/a"][..], &["1"]] {
        let done = case.commit(paths);
        assert_eq!(done.status, Some(0), "{done:?}");
        assert_eq!(
            case.on_machine("stat -c %Y d; cat d/a"),
            "1000000\nsession\n"
        );
    }
}

#[test]
fn a_mountpoint_that_appeared_is_refused() {
    let test = "a_mountpoint_that_appeared_is_refused";
    let Some(case) = Case::new(
        test,
        "mkdir -p dir/sub other",
        "rm -r dir; mv other moved; echo session > changed",
    ) else {
        return;
    };
    let program = env!("CARGO_BIN_EXE_mica");
    let with = |prepare: &str| {
        let mut command = Command::new("unshare");
        command.args(["-m", "sh", "-ec", &format!("{prepare}; {program} commit 1")]);
        command.env("XDG_STATE_HOME", case.place.at("state"));
        run(command.current_dir(case.place.at("d")))
    };
    let before = case.state();
    for prepare in [
        "mount -t tmpfs t dir/sub",
        "mount -t tmpfs t dir",
        "mount --bind kept changed",
        "mount -t tmpfs t other",
    ] {
        let done = with(prepare);
        assert_eq!(done.status, Some(1), "{prepare}: {done:?}");
        let named = prepare.split(' ').next_back().unwrap();
        assert!(done.stderr.contains(named), "{prepare}: {done:?}");
        assert_eq!(case.state(), before);
    }
}

#[test]
fn a_file_that_is_a_mountpoint_is_written_in_place() {
    let test = "a_file_that_is_a_mountpoint_is_written_in_place";
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_mica");
    let script = format!(
        "mount --bind kept changed; {program} do -- sh -c 'echo session > changed' 2>/dev/null; {program} commit -n; \
         {program} commit; cat kept changed"
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", &script])
        .env("XDG_STATE_HOME", place.at("state"));
    let done = run(command.current_dir(place.at("d")));
    let at = place.at("d/changed");
    assert_eq!(
        done.stdout,
        format!("write      {}\nsession\nsession\n", at.display()),
        "{done:?}"
    );
}

#[test]
fn a_full_disk_leaves_all_as_it_was() {
    let test = "a_full_disk_leaves_all_as_it_was";
    let script = "mkdir t; mount -t tmpfs -o size=1m t t; echo 1 > t/a; ln t/a t/b; echo 1 > t/c";
    let session = "head -c 400k /dev/zero > t/c; head -c 400k /dev/zero > t/a";
    on_mount(
        test,
        script,
        session,
        "head -c 900k /dev/zero > t/filler",
        "no space left",
    );
}

#[test]
fn a_read_only_filesystem_is_refused() {
    let test = "a_read_only_filesystem_is_refused";
    let script = "mkdir t; mount -t tmpfs t t; echo 1 > t/c; echo 1 > t/a; mkdir t/d";
    on_mount(
        test,
        script,
        "rm t/c; echo 2 > t/a; chmod 700 t/d; touch t/d/n",
        "mount -o remount,ro t",
        "read-only file system",
    );
}

#[test]
fn what_is_protected_by_flags_is_refused() {
    let test = "what_is_protected_by_flags_is_refused";
    if !has_program(test, "chattr") {
        return;
    }
    let script = "mkdir t; truncate -s 8m img; mkfs.ext4 -q img; mount -o loop img t; mkdir t/d t/e; touch t/d/f t/e/f t/f; \
                  chmod 755 t/d";
    for (session, meanwhile) in [
        ("echo 2 > t/f", "chattr +i t/f"),
        ("rm t/f", "chattr +a t/f"),
        ("touch t/d/new", "chattr +i t/d"),
        ("rm -r t/e", "chattr +i t/e"),
        ("mv t/e t/e2", "chattr +i t/e"),
    ] {
        let meanwhile = format!("{meanwhile}; trap 'chattr -R -i -a t' EXIT");
        on_mount(test, script, session, &meanwhile, "");
    }
}

#[test]
fn a_limit_of_files_leaves_all_as_it_was() {
    let test = "a_limit_of_files_leaves_all_as_it_was";
    let script = "mkdir t; mount -t tmpfs -o nr_inodes=12 t t; touch t/f";
    let session = "for n in 1 2 3 4 5 6 7; do touch t/n$n; done";
    let meanwhile = "for n in 1 2 3 4 5 6; do touch t/o$n; done";
    on_mount(test, script, session, meanwhile, "no space left");
}

#[test]
fn a_quota_leaves_all_as_it_was() {
    let test = "a_quota_leaves_all_as_it_was";
    if !["mkfs.btrfs", "btrfs"]
        .iter()
        .all(|program| has_program(test, program))
    {
        return;
    }
    let script = "truncate -s 128M img; mkfs.btrfs -q img; mkdir t; mount -o loop img t; btrfs -q quota enable t; \
                  btrfs -q quota rescan -w t; btrfs -q subvolume create t/s; echo 1 > t/s/a; ln t/s/a t/s/b; echo 1 > t/s/c";
    let session = "head -c 3M /dev/urandom > t/s/c; head -c 3M /dev/urandom > t/s/a";
    let meanwhile = "btrfs qgroup limit 2M t/s; sync -f t";
    on_mount(test, script, session, meanwhile, "quota");
}

/// Prepares a mount at `t`, runs a session and then `meanwhile`; the commit fails for `reason` and leaves what is there.
#[track_caller]
fn on_mount(test: &str, prepare: &str, session: &str, meanwhile: &str, reason: &str) {
    if !can_mount(test) {
        return;
    }
    let place = Place::new();
    let program = env!("CARGO_BIN_EXE_mica");
    let state =
        "find t -printf '%p %y %m %s %n\\n' | sort; find t -type f | sort | xargs -r sha1sum";
    let script = format!(
        "{prepare}\n{program} do -- sh -ec '{session}' 2>&1\n{meanwhile}\n{{ {state}; }} > before\nstatus=0\n\
         {program} commit 1 || status=$?\n{{ {state}; }} > after\ncmp before after && echo same $status"
    );
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-ec", &script])
        .env("XDG_STATE_HOME", place.at("state"));
    let done = run(command.current_dir(place.at("d")).env("LC_ALL", "C"));
    assert!(done.stdout.ends_with("same 1\n"), "{session}: {done:?}");
    assert!(done.stderr.contains(reason), "{done:?}");
    assert!(place.at("state/mica/sessions/1/upper").exists());
    assert!(!place.at("state/mica/sessions/1/journal").exists());
}
