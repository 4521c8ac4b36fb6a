//! `mica commit` of files that programs of the machine have open, or run.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;
use std::process::Command;

use mica::{CommitError, CommitSpec, Committed, Sessions};

use crate::commit_conflicts::Case;
use crate::commit_stopped::Far;
use crate::ground::LIMIT;

#[test]
fn a_program_that_runs_is_replaced_and_not_written_to() {
    let test = "a_program_that_runs_is_replaced_and_not_written_to";
    let script = "echo session > program; echo session > linked";
    let Some(case) = Case::new(
        test,
        "cp /bin/sleep program; cp /bin/sleep linked; ln linked l2",
        script,
    ) else {
        return;
    };
    let start = |name: &str| {
        Command::new(case.place.at("d").join(name))
            .arg("60")
            .spawn()
            .unwrap()
    };
    let (mut one, mut two) = (start("program"), start("linked"));
    // A file with other names would have to be written to.
    let before = case.state();
    let refused = case.commit(&["1"]);
    assert_eq!(
        (refused.status, case.state()),
        (Some(1), before),
        "{refused:?}"
    );
    assert!(refused.stderr.contains("text file busy"), "{refused:?}");
    let done = case.commit(&["1", "./program"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    for child in [&mut one, &mut two] {
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(
        fs::read_to_string(case.place.at("d/program")).unwrap(),
        "session\n"
    );
    assert_eq!(case.commit(&["1"]).status, Some(0));
    assert_eq!(case.on_machine("cat linked l2"), "session\nsession\n");
}

#[test]
fn a_file_that_a_program_has_open_is_replaced_and_one_with_other_names_is_written_to() {
    let test = "a_file_that_a_program_has_open_is_replaced_and_one_with_other_names_is_written_to";
    let files = ["read", "written", "read-link", "written-link"];
    let prepare = "for f in read written read-link written-link; do echo host > $f; done; ln read-link r2; ln written-link w2";
    let session = "for f in read written read-link written-link; do echo session > $f; done";
    let Some(case) = Case::new(test, prepare, session) else {
        return;
    };
    let at = |name: &str| case.place.at("d").join(name);
    let [mut read, mut written, mut read_link, mut written_link] = files.map(|name| {
        let mut options = fs::File::options();
        let writes = name.starts_with("written");
        options.read(true).append(writes).open(at(name)).unwrap()
    });
    let done = case.commit(&["1"]);
    assert_eq!(done.status, Some(0), "{done:?}");
    let mut seen = String::new();
    for file in [&mut read, &mut read_link] {
        file.read_to_string(&mut seen).unwrap();
    }
    // Who had opened what was replaced goes on with that, and what it writes there has no name.
    assert_eq!(seen, "host\nsession\n");
    for file in [&mut written, &mut written_link] {
        file.write_all(b"later\n").unwrap();
    }
    assert_eq!(
        case.on_machine("cat read written; cat read-link r2; cat written-link w2"),
        "session\nsession\nsession\nsession\nsession\nlater\nsession\nlater\n"
    );
    assert_eq!(
        case.on_machine("stat -c %h read written r2 w2"),
        "1\n1\n2\n2\n"
    );
}

#[test]
fn what_a_program_wrote_to_a_file_that_it_has_open_is_a_conflict() {
    let test = "what_a_program_wrote_to_a_file_that_it_has_open_is_a_conflict";
    for name in ["changed", "kept"] {
        let script = "echo session > changed; echo session > kept";
        let Some(case) = Case::new(test, "ln kept partner", script) else {
            return;
        };
        let path = case.place.at("d").join(name);
        let mut file = fs::File::options().append(true).open(path).unwrap();
        file.write_all(b"later\n").unwrap();
        case.is_refused(&["1"], &format!("`{name}`: was changed meanwhile"));
    }
}

/// Commits, and does `meanwhile` on the machine when others were looked for.
fn commit_during(
    case: &Case,
    spec: &CommitSpec,
    meanwhile: &str,
) -> Result<Committed, CommitError> {
    let sessions = Sessions::new(case.place.at("state/mica/sessions"));
    let session = sessions.open(OsStr::new("1")).unwrap();
    session.commit(spec, &mut |step| {
        if step == 1 {
            case.on_machine(meanwhile);
        }
        ControlFlow::Continue(())
    })
}

#[test]
fn what_is_changed_while_a_commit_is_prepared_is_a_conflict() {
    let test = "what_is_changed_while_a_commit_is_prepared_is_a_conflict";
    let prepare = "ln kept partner; mkdir -p far dir/sub; touch dir/sub/f; mount --bind far far; \
                   mkdir -p old/sub covered retyped again empty ren cover";
    let session = "echo session > changed; echo more >> kept; rm gone; mv dir far/dir; rm -r old covered again; \
                   mkdir again; mv cover covered; rmdir retyped empty; touch retyped new; mv ren ren2";
    for (meanwhile, at) in [
        ("echo other >> changed", "changed"),
        ("echo other > n; mv n changed", "changed"),
        ("echo other >> partner", "kept"),
        ("chmod 600 gone", "gone"),
        ("echo other > dir/sub/f", "dir"),
        ("touch dir/sub/new", "dir"),
        ("rm -f dir/sub/f", "dir"),
        ("touch dir/new", "dir"),
        ("touch old/sub/f", "old"),
        ("rm -r empty; touch empty", "empty"),
        ("touch covered/f", "covered"),
        ("mkdir -p again/sub", "again"),
        ("touch retyped/f", "retyped"),
        ("echo other > new", "new"),
        ("rm -rf new; mkdir new", "new"),
        ("mkdir -p ren2", "ren2"),
        ("mv ren r; mkdir ren", "ren"),
    ] {
        let Some(case) = Case::new(test, prepare, session) else {
            return;
        };
        let _far = Far(case.place.at("d/far"));
        let plain = CommitSpec {
            wait: LIMIT,
            ..CommitSpec::default()
        };
        let done = commit_during(&case, &plain, meanwhile);
        let Err(CommitError::Conflicts(conflicts)) = done else {
            panic!("{meanwhile}: {done:?}");
        };
        let paths: Vec<_> = conflicts.iter().map(|one| &one.path).collect();
        assert_eq!(paths, [&case.place.at("d").join(at)], "{meanwhile}");
        assert_eq!(case.on_machine("find . -name '.mica*'; ls far"), "");
        let forced = CommitSpec {
            force: true,
            ..plain
        };
        let done = commit_during(&case, &forced, meanwhile);
        // What has no place, or is not there, has to be looked at again.
        match meanwhile {
            "rm -rf new; mkdir new" | "mv ren r; mkdir ren" => {
                let refused = matches!(done, Err(CommitError::Conflicts(_)));
                assert!(refused, "{meanwhile}: {done:?}");
                let done = commit_during(&case, &forced, "true");
                assert!(done.is_ok(), "{meanwhile}: {done:?}");
            }
            _ => assert!(done.is_ok(), "{meanwhile}: {done:?}"),
        }
    }
}
