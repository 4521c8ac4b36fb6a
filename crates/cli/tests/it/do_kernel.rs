//! `mica do` where /dev/fuse cannot be opened: the kernel makes the view, and the session is the same.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::do_run::Place;
use crate::ground::{Outcome, can_mount, has_program, run};

/// Whether there is a device that may be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fuse {
    Open,
    Closed,
}

/// Who calls `mica do`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    Root,
    User,
}

/// What stands in the place of the device for nobody.
pub(crate) const NO_DEVICE: &str =
    "mount --bind /dev/null /dev/fuse; mount -o remount,bind,nodev /dev/fuse; ";
const DEVICE: &str = "mknod -m 666 ../fuse c 10 229; mount --bind ../fuse /dev/fuse; ";

/// Runs `script` among the files of `place`, after `as_root`, in a mount namespace of their own. All that is there before is older
/// than any session.
#[track_caller]
pub(crate) fn run_as(
    place: &Place,
    (caller, fuse): (Caller, Fuse),
    as_root: &str,
    script: &str,
) -> Outcome {
    fs::set_permissions(place.at(""), Permissions::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_mica"), place.at("mica")).unwrap();
    fs::create_dir_all(place.at("state")).unwrap();
    fs::write(place.at("work"), WORK).unwrap();
    fs::write(place.at("list"), LIST).unwrap();
    let device = match fuse {
        Fuse::Open => DEVICE,
        Fuse::Closed => NO_DEVICE,
    };
    let own = match caller {
        Caller::Root => "",
        Caller::User => "chown -R 1:1 . ../state $(ls -d ../disk 2> /dev/null || true); ",
    };
    let older = "now=$(date +%s); until test $(date +%s) -gt $now; do sleep 0.02; done; ";
    let become_it = match caller {
        Caller::Root => "exec ",
        Caller::User => "exec setpriv --reuid 1 --regid 1 --clear-groups ",
    };
    let prepare = format!("{device}{as_root}\n{own}{older}{become_it} sh -c \"$0\"");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &prepare, script]);
    command
        .env("XDG_STATE_HOME", place.at("state"))
        .env("LC_ALL", "C")
        .env(
            "PATH",
            format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", place.at("").display()),
        );
    run(command.current_dir(place.at("d")))
}

/// Another filesystem beside the files, on which the same is done. A mount among an ordinary user's files leaves the directories next
/// to it in their places.
const DISK: &str = "mkdir ../disk; mount -t tmpfs disk ../disk; \
                    for d in . ../disk; do (cd $d; mkdir dir old old/deep sub; for f in kept changed gone dir/f old/f sub/f; do echo $d > $f; touch -d @2000000 $f; done); done; ";

/// Changes of all sorts in the current directory.
const WORK: &str = "set -e; echo session > changed; rm gone; echo 12345 > new; chmod 600 kept; ln -s new link; ln new new2; \
                    rm -r old; mkdir old; echo mine > old/g; mkdir -p made/deep; mkfifo made/fifo; touch -d @1000000 dir/f; \
                    setfattr -n user.mine -v 1 dir";

/// The attributes and data of all that is there.
const LIST: &str = "find . ../disk -mindepth 1 ! -type l -printf '%p %y %m %U:%G %n %s\\n' | sed '/ d /s/ [0-9]* [0-9]*$//' | sort; \
                    find . -type l -printf '%p %l\\n' | sort; find . ../disk -type f | sort | xargs cat; \
                    getfattr -d dir ../disk/dir; stat -c %Y dir/f ../disk/dir/f";

/// What a script says in a session of each driver, with `P` for the directories of the test: the same.
#[track_caller]
fn the_same(caller: Caller, as_root: &str, script: &str) -> String {
    let [by_fuse, by_kernel] = [Fuse::Open, Fuse::Closed].map(|fuse| {
        let place = Place::new();
        let done = run_as(&place, (caller, fuse), as_root, script);
        assert_eq!(done.status, Some(0), "{done:?}");
        let lost = done.stderr.contains("the kernel makes the view");
        assert_eq!(lost, fuse == Fuse::Closed, "{done:?}");
        done.stdout.replace(place.at("").to_str().unwrap(), "P/")
    });
    assert_eq!(by_kernel, by_fuse);
    by_kernel
}

#[test]
fn the_kernel_makes_the_changes_that_mica_makes() {
    let test = "the_kernel_makes_the_changes_that_mica_makes";
    if !can_mount(test) || !has_program(test, "setfattr") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        let script = "mica do -- sh -ec '. ../work; cd ../disk; . ../work; echo x > ../d/sub/n; cd ../d; . ../list'; \
                      mica diff; mica diff --stat | tail -1; echo machine; . ../list; mica commit || exit 1; echo committed; . ../list; \
                      mica sessions";
        let all = the_same(caller, DISK, script);
        let (before, after) = all.split_once("committed\n").unwrap();
        let at = before.find("M  P/d/changed").unwrap();
        // What was seen in the session is what the machine has then.
        assert_eq!(&before[..at], after, "{caller:?}");
        assert!(after.contains("./made/fifo p 644"), "{after}");
        for line in [
            "D  P/d/gone\n",
            "A  P/disk/made/deep/\n",
            "D  P/disk/old/deep/\n",
            "M  P/d/dir/  (attributes)\n",
        ] {
            assert!(before.contains(line), "{caller:?}: no {line} in {before}");
        }
    }
}

#[test]
fn root_renames_directories_of_the_first_filesystem() {
    if !can_mount("root_renames_directories_of_the_first_filesystem") {
        return;
    }
    let script = "mica do -- sh -ec 'mv dir dir2; echo x > dir2/n; mv sub dir2; ls dir2 dir2/sub; cat dir2/f'; mica diff; \
                  mica commit; ls . dir2 dir2/sub";
    let done = the_same(Caller::Root, DISK, script);
    assert!(done.contains("R  P/d/dir/ -> P/d/dir2/\n"), "{done}");
    // Elsewhere, and for others, programs have to copy.
    let place = Place::new();
    let script = "mica do --rm -- python3 -c 'import os; os.rename(\"../disk/dir\", \"../disk/dir2\")' 2>&1 | grep -o 'Errno [0-9]*'";
    let done = run_as(&place, (Caller::Root, Fuse::Closed), DISK, script);
    assert_eq!(done.stdout, "Errno 18\n", "{done:?}");
}

#[test]
fn what_is_made_for_the_kernel_is_no_change() {
    let test = "what_is_made_for_the_kernel_is_no_change";
    if !can_mount(test) || !has_program(test, "setfacl") {
        return;
    }
    let prepare = format!(
        "{DISK} chmod 2751 sub; setfacl -m d:u:1:rwx,u:1:x sub; mkdir sub/m; mount -t tmpfs m sub/m;"
    );
    for caller in [Caller::Root, Caller::User] {
        let place = Place::new();
        // A stage that is killed takes nothing back.
        let script = "mica do --name e -- sh -ec 'ls . sub ../disk; cat kept sub/f ../disk/kept' > /dev/null; mica diff e; \
                      s=$XDG_STATE_HOME/mica/sessions; ls $s/e; find $s/e/upper | wc -l; \
                      mica do --name k -- sh -ec 'touch sub/m/x; while :; do sleep 1; done' 2> /dev/null & \
                      until test -e $s/k/upper$PWD/sub/m/x; do sleep 0.02; done; kill -9 $(pgrep -P $!); wait; \
                      test -d $s/k/upper${PWD%/d}/disk && echo there; mica diff k $PWD; \
                      mica do --name k -- rm sub/m/x; find $s/k/upper$PWD/sub; mica diff k $PWD";
        let done = run_as(&place, (caller, Fuse::Closed), &prepare, script);
        let path = place.at("d/sub/m/x");
        let upper = place.at("state/mica/sessions/k/upper");
        let in_upper = |path: &str| format!("{}{}", upper.display(), place.at(path).display());
        let expected = format!(
            "lock\nlog\nmemory\nroot\nsession.json\nupper\nwork\n1\nthere\nA  {}\n{}\n{}\n",
            path.display(),
            in_upper("d/sub"),
            in_upper("d/sub/m"),
        );
        assert_eq!(done.stdout, expected, "{caller:?}: {done:?}");
    }
}

#[test]
fn a_session_that_did_not_begin_has_nothing_left_of_the_kernels_view() {
    if !can_mount("a_session_that_did_not_begin_has_nothing_left_of_the_kernels_view") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        let place = Place::new();
        // A file over a directory: that is found out when the view is there.
        let script = "for n in 1 2 3 4 5 6 7 8; do \
                      mica do --name n$n --bind $PWD/kept:$PWD -- true 2> /dev/null; echo $?; \
                      ls $XDG_STATE_HOME/mica/sessions/n$n | grep work; done";
        let done = run_as(&place, (caller, Fuse::Closed), "true", script);
        assert_eq!(done.stdout, "125\nwork\n".repeat(8), "{caller:?}: {done:?}");
    }
}

#[test]
fn what_was_made_for_the_kernel_and_stands_for_nothing_is_no_change_either() {
    if !can_mount("what_was_made_for_the_kernel_and_stands_for_nothing_is_no_change_either") {
        return;
    }
    for (caller, mounted) in [
        (Caller::Root, "mount -t tmpfs away ../own/away;"),
        (Caller::User, ""),
    ] {
        let place = Place::new();
        let prepare =
            format!("mkdir -p ../own/away ../own/m; mount -t tmpfs m ../own/m; {mounted}");
        let prepare = match caller {
            Caller::Root => prepare,
            Caller::User => format!("{prepare} chown -R 1:1 ../own;"),
        };
        // The machine removes the directory of a cell, and the stage is killed.
        let script = "up=$XDG_STATE_HOME/mica/sessions/k/upper${PWD%/d}; cd ../own; \
                      mica do --name k -- sh -c 'touch m/in; exec sleep 1000' 2> /dev/null & \
                      until test -e $up/own/m/in; do sleep 0.02; done; umount away 2> /dev/null; rm -r away || exit 1; \
                      kill -9 $(pgrep -P $!); wait; ls $up/own; mica diff k $PWD; \
                      mica do --name k -- true 2> /dev/null; ls $up/own; mica diff k $PWD";
        let done = run_as(&place, (caller, Fuse::Closed), &prepare, script);
        let new = format!("A  {}\n", place.at("own/m/in").display());
        let expected = format!("away\nm\n{new}m\n{new}");
        assert_eq!(done.stdout, expected, "{caller:?}: {done:?}");
    }
}

#[test]
fn a_directory_whose_acl_cannot_be_kept_is_read_only() {
    let test = "a_directory_whose_acl_cannot_be_kept_is_read_only";
    if !can_mount(test) || !has_program(test, "setfacl") {
        return;
    }
    // A commit would take the ACL from the machine's directory.
    let prepare = "mkdir -p m/one m/two/x; touch m/one/f m/two/f; setfacl -m u:7:rwx m/one m/two; mount -t tmpfs x m/two/x;";
    let place = Place::new();
    let script = "mica do -- sh -c 'ls m/one m/two; for f in m/one/n m/two/n m/n; do touch $f 2>&1 | grep -o Read-only; done'; mica diff";
    let done = run_as(&place, (Caller::User, Fuse::Closed), prepare, script);
    let new = place.at("d/m/n");
    let expected = format!(
        "m/one:\nf\n\nm/two:\nRead-only\nRead-only\nA  {}\n",
        new.display()
    );
    assert_eq!(done.stdout, expected, "{done:?}");
    done.assert_said("m/one` (directory) is read-only, as the kernel makes no overlay of it: ");
    done.assert_said("m/two` is not in the view: ");
}

#[test]
fn a_session_goes_on_with_the_other_driver() {
    if !can_mount("a_session_goes_on_with_the_other_driver") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        let place = Place::new();
        let with = |fuse, script: &str| {
            let device = match fuse {
                Fuse::Open => "true; ",
                Fuse::Closed => NO_DEVICE,
            };
            let go = if caller == Caller::Root {
                ""
            } else {
                "setpriv --reuid 1 --regid 1 --clear-groups "
            };
            format!(
                "unshare -m sh -ec \"{device} exec {go}mica do --name n -- sh -ec '{script}'\" 2>/dev/null;"
            )
        };
        let (kernel, mica) = (Fuse::Closed, Fuse::Open);
        let script = [
            with(kernel, "echo 1 > ../disk/changed; rm -r ../disk/old; mkdir ../disk/old; rm gone; ls -A ../disk/old"),
            with(mica, "cat ../disk/changed; ls -A ../disk/old; ls; echo 2 > ../disk/old/n; echo 2 > changed; rm kept; rm -r sub"),
            with(kernel, "cat ../disk/changed ../disk/old/n changed; ls; echo 3 > kept; mkdir sub; ls -A sub"),
            with(mica, "cat kept; ls -A sub; mv dir dir2"),
        ]
        .concat();
        let go = if caller == Caller::Root {
            ""
        } else {
            "setpriv --reuid 1 --regid 1 --clear-groups "
        };
        let last =
            format!("unshare -m sh -ec \"{NO_DEVICE} exec {go}mica do --name n -- ls dir2\" 2>&1");
        let own = if caller == Caller::Root {
            "true"
        } else {
            "chown -R 1:1 . ../state ../disk"
        };
        let done = run_as(
            &place,
            (Caller::Root, Fuse::Open),
            DISK,
            &format!("{own}; {script}{last} | grep -v ^warning"),
        );
        let common = "1\nchanged\ndir\nkept\nold\nsub\n1\n2\n2\nchanged\ndir\nold\n3\n";
        let end = match caller {
            Caller::Root => "f\n".to_owned(),
            Caller::User => format!(
                "error: without /dev/fuse there is no view of `{}`, a directory that the session renamed\n\
                 hint: an administrator permits FUSE by `chmod 0666 /dev/fuse`; `mica diff` and `mica commit` need none\n",
                place.at("d/dir2").display()
            ),
        };
        let stdout: Vec<_> = done
            .stdout
            .lines()
            .filter(|line| !line.contains(" - mica diff"))
            .collect();
        assert_eq!(
            stdout.join("\n") + "\n",
            format!("{common}{end}"),
            "{caller:?}: {done:?}"
        );
    }
}

#[test]
fn options_mean_the_same_without_fuse() {
    if !can_mount("options_mean_the_same_without_fuse") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        let script = "mica do --name h --hide gone --hide ../disk/old --tmpfs dir --bind ../disk/dir:/made/here:ro --write sub -- \
                      sh -c 'ls . ../disk; cat gone 2>&1; echo mine > gone; ls -A dir; touch dir/x; stat -f -c %T dir; cat /made/here/f; \
                      touch /made/here/g 2>&1; echo w > sub/w; ls ../state/mica/sessions 2>&1'; cat sub/w; ls dir; mica diff h; \
                      mica do --rm --ro --tmpfs /made/later -- sh -c 'echo x > n; echo x > ../disk/n; touch /tmp/n /made/n; touch /made/later/n; ls /made/later' 2>&1 | grep -v ^warning; \
                      mica do --memory --size 4m -- sh -c 'echo x > n; rm ../disk/gone ../disk/kept; cat n; ls; df --output=size . | tail -1; \
                      head -c 9000000 /dev/zero > ../disk/big || echo full'; mica sessions; \
                      mica do --rm --lower ../tree -- /b/bin/sh -c 'echo y > /f; cat /f; ls /; pwd'; \
                      mica do --rm --net none -- true; mica do --rm -- sh -c 'exit 7'; echo $?";
        let prepare = format!(
            "{DISK} mkdir -p ../tree/b ../tree/proc; chown 1:1 ../tree; mount --bind / ../tree/b; \
             for l in bin lib lib64 usr; do ln -s b/$l ../tree/$l; done"
        );
        let done = the_same(caller, &prepare, script);
        for part in [
            "cat: gone: No such file or directory\ntmpfs\n",
            "touch: cannot touch '/made/here/g': Read-only file system\n",
            "ls: cannot access '../state/mica/sessions': No such file or directory\nw\n",
            "cannot create ../disk/n: Read-only file system\n",
            "4096\nfull\n",
            "y\nb\nbin\nf\nlib\nlib64\nproc\nusr\n/\n",
        ] {
            assert!(done.contains(part), "no {part} in {done}");
        }
        assert!(done.ends_with("7\n"), "{done}");
    }
}

#[test]
fn commands_join_a_session_of_the_kernel() {
    if !can_mount("commands_join_a_session_of_the_kernel") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        let place = Place::new();
        let script = "mkdir out; mica do --name n --write out -- sh -c \
                      'echo 1 > new; touch out/ready; until test -e new2; do sleep 0.02; done; cat new2' & \
                      until test -e out/ready; do sleep 0.02; done; \
                      mica do --name n -- sh -c 'cat new; echo 2 > new3; mv new3 new2'; wait; ls; mica diff n | wc -l; \
                      mica do --name n -- true 2>&1 | grep -c ^warning";
        let done = run_as(&place, (caller, Fuse::Closed), "true", script);
        let expected = "1\n2\nchanged\ngone\nkept\nout\n2\n1\n";
        assert_eq!(done.stdout, expected, "{caller:?}: {done:?}");
        // Who joins lacks nothing that he has not been told of.
        assert_eq!(done.stderr.matches("warning:").count(), 1, "{done:?}");
    }
}

#[test]
fn a_commit_finds_what_others_changed_without_a_record_of_it() {
    if !can_mount("a_commit_finds_what_others_changed_without_a_record_of_it") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        let place = Place::new();
        let script = "mica do --name n -- sh -ec 'rm -r old; echo s > changed; rm -r ../disk/old; mkdir ../disk/old; echo s > ../disk/kept; touch in' 2>/dev/null; \
                      echo machine > changed; echo late > old/deep/late; echo late > ../disk/old/deep/late; echo other > kept; \
                      mica commit n 2>&1; find . ../disk -name late | wc -l; mica commit --theirs old --theirs ../disk/old --ours changed n; \
                      find . ../disk -name late | wc -l; cat changed ../disk/kept kept; ls; mica sessions";
        let done = run_as(&place, (caller, Fuse::Closed), DISK, script);
        let conflicts = "`P/d/changed`: did not exist\n`P/d/old`: `P/d/old/deep` below was changed meanwhile\n\
                         `P/disk/old`: `P/disk/old/deep` below was changed meanwhile\n";
        let stdout = done.stdout.replace(place.at("").to_str().unwrap(), "P/");
        let (said, rest) = stdout
            .split_once("error: what the session changed was changed meanwhile\n")
            .unwrap();
        assert_eq!(said, conflicts, "{caller:?}: {done:?}");
        let after = rest.split_once('\n').unwrap().1;
        let expected = "2\n2\ns\ns\nother\nchanged\ndir\ngone\nin\nkept\nold\nsub\n";
        assert_eq!(after, expected, "{caller:?}: {done:?}");
    }
}

#[test]
fn an_ordinary_users_files_below_those_of_others_are_his() {
    if !can_mount("an_ordinary_users_files_below_those_of_others_are_his") {
        return;
    }
    let place = Place::new();
    // The way to the current directory is root's, and others have mounted something in it.
    let prepare = "mkdir -p ../way/own/deep ../way/own/mnt; echo host > ../way/own/f; echo host > ../way/own/deep/f; \
                   chown -R 1:1 ../way/own; mount -t tmpfs m ../way/own/mnt; echo root > ../way/own/root; chmod 644 ../way/own/root; ";
    let script = "cd ../way/own; mica do -- sh -c 'echo s > f; echo s > deep/f; cat root; (echo s > root) 2>/dev/null || echo no; \
                  touch mnt/x 2>/dev/null || echo no; ls; id -u; cat /etc/shadow >/dev/null 2>&1 || echo no'; mica diff; cat f deep/f";
    let done = run_as(&place, (Caller::User, Fuse::Closed), prepare, script);
    let way = place.at("way/own");
    let expected = format!(
        "root\nno\ndeep\nf\nmnt\nroot\n1\nno\nM  {0}/deep/f\nM  {0}/f\nA  {0}/mnt/x\nhost\nhost\n",
        way.display()
    );
    assert_eq!(done.stdout, expected, "{done:?}");
}

#[test]
fn a_range_of_ids_serves_the_kernel_too() {
    let test = "a_range_of_ids_serves_the_kernel_too";
    if !can_mount(test) || !has_program(test, "newuidmap") {
        return;
    }
    let place = Place::new();
    let prepare = "echo daemon:100000:65536 > ../sub; mount --bind ../sub /etc/subuid; mount --bind ../sub /etc/subgid;";
    let script = "mica do --as-root -- sh -c 'stat -c %u /usr .; mkdir own; touch own/f; chown -R 7:8 own; chown 5 kept; rm gone; stat -c %u:%g own/f'; \
                  mica diff; mica discard 1; mica do -- sh -c 'id -u; stat -c %u /usr .; (touch /usr/x) 2>/dev/null || echo no'; ls ../state/mica/sessions/2/upper";
    let done = run_as(&place, (Caller::User, Fuse::Closed), prepare, script);
    let at = place.at("d");
    let expected = format!(
        "0\n0\n7:8\nD  {0}/gone\nM  {0}/kept  (owner 0:0 -> 5:0)\nA  {0}/own/\nA  {0}/own/f\n1\n0\n1\nno\n",
        at.display()
    );
    assert_eq!(done.stdout, expected, "{done:?}");
}

#[test]
fn what_is_hidden_is_hidden_wherever_it_is_mounted() {
    if !can_mount("what_is_hidden_is_hidden_wherever_it_is_mounted") {
        return;
    }
    let prepare = "mkdir ../all ../part; mount --bind .. ../all; mount --bind . ../part; mount -t tmpfs x ../all/all;";
    let script = "mica do -- sh -c 'exec 2>&1; for p in .. ../all; do ls $p/state/mica/sessions; done; ls ../all/d ../part'; mica diff; \
                  mica do --rm --hide gone -- sh -c 'ls -d gone ../all/d/gone ../part/gone ../part/kept 2>&1; true'";
    for caller in [Caller::Root, Caller::User] {
        let done = the_same(caller, prepare, script);
        assert_eq!(done.matches("sessions': No such file").count(), 2, "{done}");
        assert_eq!(done.matches("gone': No such file").count(), 3, "{done}");
    }
}

#[test]
fn whichever_process_ends_all_of_a_session_of_the_kernel_ends() {
    if !can_mount("whichever_process_ends_all_of_a_session_of_the_kernel_ends") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        for (who, pid) in [
            ("front", "$front"),
            ("stage", "$(pgrep -P $front)"),
            ("init", "$(pgrep -P $(pgrep -P $front))"),
        ] {
            let place = Place::new();
            // A process of the session is told by its environment.
            let script = format!(
                "runs() {{ for p in /proc/[0-9]*; do test \"$(tr -d '\\0' < $p/environ 2>/dev/null | grep -c mark=$PWD)\" = 1 && return 0; done; return 1; }}; \
                 mica do --name n --setenv mark=$PWD -- sh -c 'touch in; exec sleep 1000' 2>/dev/null & front=$!; \
                 until test -e $XDG_STATE_HOME/mica/sessions/n/upper$PWD/in; do sleep 0.02; done; runs && echo runs; \
                 kill -9 {pid}; wait; while runs; do sleep 0.02; done; mica do --name n -- ls in 2>/dev/null; mica diff n $PWD; \
                 ls $XDG_STATE_HOME/mica/sessions/n | grep work"
            );
            let done = run_as(&place, (caller, Fuse::Closed), "true", &script);
            let new = place.at("d/in");
            let expected = format!("runs\nin\nA  {}\nwork\n", new.display());
            assert_eq!(done.stdout, expected, "{caller:?} {who}: {done:?}");
        }
    }
}

#[test]
fn sockets_and_fifos_of_the_machine_are_not_reached() {
    let test = "sockets_and_fifos_of_the_machine_are_not_reached";
    if !can_mount(test) || !has_program(test, "python3") {
        return;
    }
    for caller in [Caller::Root, Caller::User] {
        let place = Place::new();
        let _here = UnixListener::bind(place.at("d/here")).unwrap();
        let _there = UnixListener::bind(place.at("there")).unwrap();
        fs::set_permissions(place.at("there"), Permissions::from_mode(0o777)).unwrap();
        // Something is mounted beside the second, so an ordinary user's view has it in a scaffold.
        let script = "mica do --rm -- python3 -c 'import os, socket
for path in [\"here\", \"../there\"]: print(socket.socket(socket.AF_UNIX).connect_ex(path))
for path in [\"fifo\", \"../fifo\"]:
    try: os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as e: print(e.errno)'; \
                      mica do --rm --write here -- python3 -c 'import socket; print(socket.socket(socket.AF_UNIX).connect_ex(\"here\"))'";
        let prepare = format!("{DISK} mkfifo -m 666 fifo ../fifo; exec 8<>fifo 9<>../fifo;");
        let done = run_as(&place, (caller, Fuse::Closed), &prepare, script);
        // ENXIO: nobody reads, whoever does so outside.
        assert_eq!(done.stdout, "111\n111\n6\n6\n0\n", "{caller:?}: {done:?}");
    }
}

#[test]
fn where_the_kernel_has_no_overlay_it_is_said_why() {
    if !can_mount("where_the_kernel_has_no_overlay_it_is_said_why") {
        return;
    }
    let place = Place::new();
    let prepare = "mkdir o w2 l2 u2; mount -t overlay o -o lowerdir=l2,upperdir=u2,workdir=w2 o; export XDG_STATE_HOME=$PWD/o;";
    let script = "mica do -- touch new; echo $?; mica sessions; mica do --memory -- sh -c 'echo x > new; cat new'";
    let done = run_as(&place, (Caller::Root, Fuse::Closed), prepare, script);
    assert_eq!(done.stdout, "125\nx\n", "{done:?}");
    done.assert_said("error: /dev/fuse cannot be opened, and the kernel takes no changes in `");
    done.assert_said("hint: an administrator permits FUSE by `chmod 0666 /dev/fuse`; or leave the changes in memory by `--memory`");
}

#[test]
fn a_filesystem_that_the_kernel_does_not_take_is_read_only() {
    if !can_mount("a_filesystem_that_the_kernel_does_not_take_is_read_only") {
        return;
    }
    let place = Place::new();
    // An overlay of an overlay is as deep as the kernel goes.
    let prepare = "mkdir l u w o u2 w2 o2; echo deep > l/f; mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w o; \
                   mount -t overlay o2 -o lowerdir=o:u2 o2;";
    let script = "mica do -- sh -c 'cat o2/f; echo x > o/g; (echo x > o2/g) 2>&1 | grep -o Read-only; cat o/g'; mica diff";
    let done = run_as(&place, (Caller::Root, Fuse::Closed), prepare, script);
    let expected = format!("deep\nRead-only\nx\nA  {}\n", place.at("d/o/g").display());
    assert_eq!(done.stdout, expected, "{done:?}");
    let note = format!(
        "warning: `{}` (overlay) is read-only, as the kernel makes no overlay of it: invalid argument (EINVAL)\n",
        place.at("d/o2").display()
    );
    done.assert_said(&note);
}

#[test]
fn the_owner_of_a_place_is_kept() {
    if !can_mount("the_owner_of_a_place_is_kept") {
        return;
    }
    // Where a cell begins its directory is the upper's.
    let place = Place::new();
    let prepare = "mkdir m; mount -t tmpfs m m; chown 5:6 m; chmod 1731 m;";
    let script = "mica do -- sh -c 'stat -c \"%u:%g %a\" m; chmod 700 m; chown 7 m'; mica diff";
    let done = run_as(&place, (Caller::Root, Fuse::Closed), prepare, script);
    let m = place.at("d/m");
    let expected = format!(
        "5:6 1731\nM  {}/  (mode 1731 -> 0700, owner 5:6 -> 7:6)\n",
        m.display()
    );
    assert_eq!(done.stdout, expected, "{done:?}");
}
