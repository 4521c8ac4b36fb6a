//! `mica commit` that is killed between any two steps: what is not sealed is undone by the next one, what is sealed is finished.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use mica::{CommitError, CommitSpec, Committed, Sessions};

use crate::commit_conflicts::Case;
use crate::ground::LIMIT;

/// What a session does that needs each kind of step.
const SCRIPT: &str = "echo session > changed; rm gone; echo more >> linked; mv dir moved; touch moved/new; rm moved/a; \
                      mkdir -p n/sub; echo n > n/sub/f; mv a t; mv b a; mv t b; rm -r other; chmod 700 mode; \
                      rm -r again; mkdir again; touch again/own; ln kept kept2; mv a/in n/in; rm file; mkdir file; \
                      rm empty; mkdir empty; mv c empty/c";

const PREPARE: &str = "mkdir -p dir/sub other/sub again mode a b/in empty c; touch dir/a dir/sub/b other/sub/c again/x a/1 b/2 \
                       b/in/3 file c/4; echo linked > linked; ln linked partner; rmdir empty; touch empty";

/// Commits, and stops before step `last`; `None`: goes on to the end.
fn commit(sessions: &Path, last: Option<u64>) -> Result<Committed, CommitError> {
    let session = Sessions::new(sessions.to_owned()).open(OsStr::new("1"));
    let spec = CommitSpec {
        wait: LIMIT,
        ..CommitSpec::default()
    };
    session?.commit(&spec, &mut |step| match last {
        Some(last) if step >= last => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}

/// What is there, without what was begun.
fn visible(case: &Case) -> String {
    // A directory that is being made counts as a link of the one above.
    let all = "find . -name '.mica-commit*' -prune -o -type d -printf '%P %y %m\\n' -o -printf '%P %y %m %n %l\\n' | sort; \
               find . -name '.mica-commit*' -prune -o -type f -print | sort | xargs -r sha1sum";
    case.on_machine(all)
}

/// Stops commits after every third step, and has others go on, until one of them gets to its end.
fn stopped(test: &str, prepare: &str, script: &str) {
    let Some(plain) = Case::new(test, prepare, "true") else {
        return;
    };
    let _far = Far(plain.place.at("d/far"));
    let before = visible(&plain);
    plain.on_machine(script);
    let expected = visible(&plain);
    let (mut sealed, mut undone) = (0, 0);
    for last in (1..).step_by(3) {
        // Commits compare numbers and times of objects, so each round has a session and files of its own.
        let Some(round) = Case::new(test, prepare, script) else {
            return;
        };
        let _far = Far(round.place.at("d/far"));
        let sessions = round.place.at("state/mica/sessions");
        match commit(&sessions, Some(last)) {
            Err(CommitError::Stopped) if sessions.join("1/journal/plan").exists() => sealed += 1,
            Err(CommitError::Stopped) => {
                undone += 1;
                assert_eq!(visible(&round), before, "step {last}");
            }
            Ok(_) => break,
            failed => panic!("step {last}: {failed:?}"),
        }
        // Killed once more on the way.
        let again = commit(&sessions, Some(last / 2 + 1));
        assert!(
            matches!(again, Err(CommitError::Stopped) | Ok(_)),
            "{again:?}"
        );
        if again.is_err() {
            let done = commit(&sessions, None);
            assert!(done.is_ok(), "step {last}: {done:?}");
        }
        assert_eq!(visible(&round), expected, "step {last}");
        assert_eq!(round.on_machine("find . -name '.mica-commit*'"), "");
        assert!(!sessions.join("1").exists());
    }
    assert!(sealed > 5 && undone > 5, "{sealed} {undone}");
}

/// Where something is mounted, until this is dropped.
pub(crate) struct Far(pub(crate) PathBuf);

impl Drop for Far {
    fn drop(&mut self) {
        // There may be none.
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_commit_that_is_killed_is_undone_or_finished() {
    stopped(
        "a_commit_that_is_killed_is_undone_or_finished",
        PREPARE,
        SCRIPT,
    );
}

#[test]
fn a_commit_that_is_killed_between_two_filesystems_is_undone_or_finished() {
    stopped(
        "a_commit_that_is_killed_between_two_filesystems_is_undone_or_finished",
        "mkdir far; mount --bind far far; mkdir -p one/sub/deep one/out two/x far/in far/back/sub; echo 1 > one/f; ln one/f one/sub/f2; \
         echo 2 > one/sub/deep/g; touch one/out/o two/x/1 far/in/i far/back/sub/b; ln one/f partner",
        "mv one/out out; echo more >> one/f; mv one far/one; mv far/in far/one/in; echo 3 > far/one/sub/deep/g; mkdir one; echo own > one/f; \
         mv two far/t; mv far/back two; mv far/t far/back; mv far/one/sub/deep one/deep; echo x > changed; mkdir -p far/n/n; mv out far/n/n/out",
    );
}

#[test]
fn a_commit_that_is_not_sealed_leaves_nothing_when_it_is_refused_the_next_time() {
    let test = "a_commit_that_is_not_sealed_leaves_nothing_when_it_is_refused_the_next_time";
    let Some(case) = Case::new(test, PREPARE, SCRIPT) else {
        return;
    };
    let sessions = case.place.at("state/mica/sessions");
    assert!(matches!(
        commit(&sessions, Some(8)),
        Err(CommitError::Stopped)
    ));
    assert_ne!(case.on_machine("find . -name '.mica-commit*'"), "");
    case.on_machine("echo other > changed");
    let done = commit(&sessions, None);
    assert!(matches!(done, Err(CommitError::Conflicts(_))), "{done:?}");
    assert_eq!(case.on_machine("find . -name '.mica-commit*'"), "");
    assert!(!sessions.join("1/journal").exists());
}

#[test]
fn a_commit_that_is_killed_while_its_session_ends_is_finished() {
    let test = "a_commit_that_is_killed_while_its_session_ends_is_finished";
    let Some(case) = Case::new(test, PREPARE, SCRIPT) else {
        return;
    };
    let sessions = case.place.at("state/mica/sessions");
    let session = sessions.join("1");
    // What is left when all is on the machine.
    std::fs::rename(session.join("upper"), session.join("committed")).unwrap();
    let before = visible(&case);
    let done = case.commit(&["1"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.stderr.contains("is finished"), "{done:?}");
    assert_eq!(visible(&case), before);
    assert_eq!(std::fs::read_dir(&sessions).unwrap().count(), 0);
}

#[test]
fn a_commit_whose_objects_have_another_device_number_is_not_taken_for_done() {
    let test = "a_commit_whose_objects_have_another_device_number_is_not_taken_for_done";
    for script in [
        "echo session > changed",
        "rm gone",
        "mv dir moved",
        "echo new > new",
    ] {
        let Some(case) = Case::new(test, PREPARE, script) else {
            return;
        };
        let sessions = case.place.at("state/mica/sessions");
        let plan = sessions.join("1/journal/plan");
        let sealed = (1..).find(|&last| {
            let stopped = commit(&sessions, Some(last));
            assert!(matches!(stopped, Err(CommitError::Stopped)), "{script}");
            plan.exists()
        });
        assert!(sealed.is_some());
        // As after a restart.
        let text = std::fs::read_to_string(&plan).unwrap();
        let other = text.replace("\"dev\":", "\"dev\":9");
        assert_ne!(text, other);
        std::fs::write(&plan, other).unwrap();
        let before = visible(&case);
        let done = case.commit(&["1"]);
        assert_eq!(done.status, Some(1), "{script}: {done:?}");
        assert!(done.stderr.contains("ESTALE"), "{script}: {done:?}");
        assert_eq!(visible(&case), before, "{script}");
        std::fs::write(&plan, text).unwrap();
        let done = case.commit(&["1"]);
        assert_eq!(done.status, Some(0), "{script}: {done:?}");
        assert_ne!(visible(&case), before, "{script}");
    }
}
