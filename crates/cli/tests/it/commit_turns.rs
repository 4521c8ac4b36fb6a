//! `mica commit` of several at once: to one tree, to one that is in another, to two that have nothing in common.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::ops::ControlFlow;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use mica::{CommitError, CommitSpec, Entered, Session, Sessions};
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::ground::{is_root, run, until};

/// A session on a tree, with a new file in its upper.
fn session(sessions: &Sessions, name: &str, tree: &Path) -> Session {
    let Ok(Entered::Idle(session)) = sessions.enter(Some(OsStr::new(name)), Some(tree)) else {
        panic!("no session");
    };
    let upper = sessions.dir().join(name).join("upper");
    fs::write(upper.join(name), "session\n").unwrap();
    session
}

/// What other tests start has a copy of each descriptor from its fork to its exec, and so its lock.
const A_WHILE: Duration = Duration::from_secs(20);

/// Commits; `within` is done when that has begun.
fn commit(session: &Session, wait: Duration, mut within: impl FnMut()) -> Result<(), CommitError> {
    let spec = CommitSpec {
        wait,
        ..CommitSpec::default()
    };
    let done = session.commit(&spec, &mut |step| {
        if step == 1 {
            within();
        }
        ControlFlow::Continue(())
    });
    done.map(drop)
}

#[test]
fn commits_to_trees_that_overlap_come_one_after_the_other() {
    let test = "commits_to_trees_that_overlap_come_one_after_the_other";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("all/in/deep")).unwrap();
    fs::create_dir_all(at("all/other")).unwrap();
    let sessions = Sessions::new(at("sessions"));
    // Of one tree, of one in it, of one below which it is; the other way round; of two beside each other.
    for (nth, (first, second, locked)) in [
        ("all/in", "all/in", Some("all/in")),
        ("all", "all/in/deep", Some("all")),
        ("all/in/deep", "all", Some("all")),
        ("all/in", "all/other", None),
    ]
    .into_iter()
    .enumerate()
    {
        let one = session(&sessions, &format!("one{nth}"), &at(first));
        let two = session(&sessions, &format!("two{nth}"), &at(second));
        let mut met = None;
        let wait = locked.map_or(A_WHILE, |_| Duration::ZERO);
        commit(&one, A_WHILE, || met = Some(commit(&two, wait, || ()))).unwrap();
        match (met.unwrap(), locked) {
            (Ok(()), None) => {}
            (Err(CommitError::Busy { path, holder }), Some(locked)) => {
                assert_eq!(path, at(locked));
                assert_eq!(holder.unwrap().pid, std::process::id());
                assert!(!at(second).join(format!("two{nth}")).exists());
                commit(&two, A_WHILE, || ()).unwrap();
            }
            met => panic!("{first}, {second}: {met:?}"),
        }
        assert!(at(first).join(format!("one{nth}")).exists());
        assert!(at(second).join(format!("two{nth}")).exists());
    }
}

#[test]
fn who_may_not_lock_a_directory_above_commits_all_the_same() {
    let test = "who_may_not_lock_a_directory_above_commits_all_the_same";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("all/in")).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_mica"), at("mica")).unwrap();
    drop(session(
        &Sessions::new(at("state/mica/sessions")),
        "s",
        &at("all/in"),
    ));
    fs::set_permissions(dir.path(), Permissions::from_mode(0o711)).unwrap();
    let mut chown = Command::new("chown");
    let owned = run(chown.args(["-R", "1:1"]).args([at("state"), at("all/in")]));
    assert_eq!(owned.status, Some(0), "{owned:?}");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "1", "--regid", "1", "--clear-groups"]);
    command.arg(at("mica")).args(["commit", "s"]);
    let done = run(command.env("XDG_STATE_HOME", at("state")));
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(fs::metadata(at("all/in/s")).unwrap().uid(), 1);
}

#[test]
fn who_waits_for_another_commit_says_for_whom_and_not_for_ever() {
    let test = "who_waits_for_another_commit_says_for_whom_and_not_for_ever";
    if !is_root(test) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let sessions = Sessions::new(dir.path().join("mica/sessions"));
    let own = session(&sessions, "s", &tree);
    let held = fs::File::open(&tree).unwrap();
    flock(&held, FlockOperation::LockShared).unwrap();
    let spec = CommitSpec {
        wait: Duration::from_millis(50),
        ..CommitSpec::default()
    };
    let pid = std::process::id();
    let wanted = format!("`{}` is locked by process {pid} (", tree.display());
    // Above there may be others for a while.
    until(|| {
        let late = own.commit(&spec, &mut |_| ControlFlow::Continue(()));
        late.unwrap_err().to_string().starts_with(&wanted)
    });
    drop(own);
    // The command waits, and goes on when it can.
    let mut command = Command::new(env!("CARGO_BIN_EXE_mica"));
    command
        .args(["commit", "s"])
        .env("XDG_STATE_HOME", dir.path());
    let mut waiting = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert!(
        line.starts_with('`') && line.ends_with("), which is waited for\n"),
        "{line}"
    );
    drop(held);
    assert!(waiting.wait().unwrap().success());
    assert!(tree.join("s").exists());
}
