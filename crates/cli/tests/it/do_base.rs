//! `mica do`: the record of what the machine had before a session changed it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::do_run::Place;
use crate::ground::{can_mount, run};

/// The records of a session that are of the test's own directory: all fields but the moment, the path relative to it.
fn records(place: &Place, session: &str) -> Vec<(String, String)> {
    let log = place
        .at("state/mica/sessions")
        .join(session)
        .join("base.log");
    let log = fs::read(log).unwrap();
    assert!(log.ends_with(b"\0"), "{:?}", log.escape_ascii().to_string());
    let log = String::from_utf8(log).unwrap();
    let below = format!("{}/", place.at("d").display());
    let records = log.split_terminator('\0').filter_map(|record| {
        let fields: Vec<_> = record.splitn(10, ' ').collect();
        assert_eq!(fields.len(), 10, "{record}");
        assert!(fields[8].parse::<f64>().unwrap() > 1.0, "{record}");
        let path = fields[9].strip_prefix(&below)?;
        Some((fields[..8].join(" "), path.to_owned()))
    });
    records.collect()
}

/// What a record says of an object now.
fn record(fate: &str, path: &Path) -> String {
    let stat = fs::symlink_metadata(path).unwrap();
    let (mode, uid, gid, ino, size) =
        (stat.mode(), stat.uid(), stat.gid(), stat.ino(), stat.size());
    let dev = stat.dev();
    let (major, minor) = (rustix::fs::major(dev), rustix::fs::minor(dev));
    let (secs, nanos) = (stat.ctime(), stat.ctime_nsec());
    format!("{fate} {mode:o} {uid} {gid} {major}:{minor} {ino} {size} {secs}.{nanos:09}")
}

#[test]
fn what_a_session_changes_hides_or_moves_is_recorded_as_it_was() {
    if !can_mount("what_a_session_changes_hides_or_moves_is_recorded_as_it_was") {
        return;
    }
    let place = Place::new();
    let at = |path: &str| place.at("d").join(path);
    fs::create_dir_all(at("dir/sub")).unwrap();
    fs::create_dir(at("other")).unwrap();
    for path in ["dir/a", "dir/sub/b", "other/c", "one", "two", "with space"] {
        fs::write(at(path), path).unwrap();
    }
    let script = "echo x >> kept; chmod 600 changed; rm gone; rm -r other; mv dir moved; echo y > moved/sub/b; \
                  mv one two; touch new; ln 'with space' link; mv new new2; rm new2; cat dir/a 2>/dev/null; true";
    assert_eq!(run(&mut place.script(&[], script)).status, Some(0));
    let expected = [
        ("copied", "kept"),
        ("copied", "changed"),
        ("hidden", "gone"),
        // Its first name to go.
        ("copied", "other"),
        ("hidden", "other/c"),
        ("hidden", "other"),
        ("copied", "dir"),
        ("moved", "dir"),
        // Under the name that it has on the machine.
        ("copied", "dir/sub"),
        ("copied", "dir/sub/b"),
        ("copied", "one"),
        ("hidden", "two"),
        ("copied", "with space"),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(fate, path)| (record(fate, &at(path)), (*path).to_owned()))
        .collect();
    assert_eq!(records(&place, "1"), expected);
}

#[test]
fn a_session_that_goes_on_appends_to_its_record() {
    if !can_mount("a_session_that_goes_on_appends_to_its_record") {
        return;
    }
    let place = Place::new();
    let go_on = |script: &str| {
        let done = run(&mut place.script(&["--name", "n"], script));
        assert_eq!(done.status, Some(0), "{done:?}");
    };
    go_on("echo x > kept");
    go_on("echo x > kept; rm gone");
    let seen: Vec<_> = records(&place, "n")
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    assert_eq!(seen, ["kept", "gone"]);
}
