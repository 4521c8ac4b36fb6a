//! Each case that doctor knows, made on this machine: the kernel's overlayfs is mounted and does what the table says, doctor
//! names the case, and `mica mount` does what doctor says of it, in the same words.
//!
//! Cases that this machine cannot make are judged by the library's own tests (`mica::doctor::tests`), from what was not probed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::time::{Duration, Instant};

use mica::doctor::{ROWS, Reaction, Row};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;

use crate::doctor_cases::{CONDITIONS, Case, IN_NAMESPACES, PREDICTED, WITH_FUSE, cases};
use crate::ground::{Ground, can_mount, has_program, ok, run};

/// What doctor says of a driver.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) verdict: String,
    pub(crate) findings: Vec<Value>,
}

impl Said {
    /// Reads what doctor printed.
    #[track_caller]
    pub(crate) fn read(text: &str, driver: &str) -> Self {
        let all: Value = serde_json::from_str(text).unwrap();
        let mut drivers = all["drivers"].as_array().unwrap().iter();
        let said = drivers.find(|said| said["driver"] == driver).unwrap();
        Self {
            verdict: said["verdict"].as_str().unwrap().to_owned(),
            findings: said["findings"].as_array().unwrap().clone(),
        }
    }

    pub(crate) fn names(&self, case: &str) -> bool {
        self.findings.iter().any(|found| found["case"] == case)
    }

    /// Returns all that was said, cause by cause, and the hints.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for found in &self.findings {
            let causes = found["causes"].as_array().unwrap().iter();
            words.extend(causes.map(|cause| cause.as_str().unwrap().to_owned()));
            words.extend(found["hint"].as_str().map(str::to_owned));
        }
        words
    }
}

const UNLOGGED: &str = "the log lacks";
/// `DEFAULT_RATELIMIT_INTERVAL`
const RATE: Duration = Duration::from_secs(5);

/// Makes the situation of a case, with `$` for the test's directory.
fn prepare(case: &Case) -> (Ground, String) {
    // Whoever copies the mount namespace meanwhile keeps the mounts that a case makes and ends.
    let ground = Ground::alone();
    let script = format!("mkdir l2 u2 w2 m2; {}", in_place(case.script, &ground));
    let mut shell = Command::new("bash");
    let made = run(ground.here(shell.args(["-ec", &script])));
    assert_eq!(made.status, Some(0), "{}: {}", case.row, made.stderr);
    if let Some((path, name, value)) = case.mark {
        let name = format!("trusted.overlay.{name}");
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::setxattr(ground.at(path), name, value.as_bytes(), flags).unwrap();
    }
    let options = in_place(&(case.options)(), &ground);
    (ground, options)
}

fn doctor(ground: &Ground, options: &str) -> String {
    run(&mut ground.mica(&["doctor", "--json", "-o", options])).stdout
}

/// Returns what the kernel's log gets while `act` runs.
pub(crate) fn logged<T>(act: impl FnOnce() -> T) -> (T, String) {
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut log = File::options()
        .read(true)
        .custom_flags(nonblock)
        .open("/dev/kmsg")
        .unwrap();
    log.seek(SeekFrom::End(0)).unwrap();
    let done = act();
    let (mut text, mut record) = (String::new(), [0; 8192]);
    while let Ok(len) = log.read(&mut record) {
        text.push_str(&String::from_utf8_lossy(&record[..len]));
    }
    (done, text)
}

/// Mounts the kernel's overlayfs and says how it differs from what the table says, if it does.
fn kernel_differs(case: &Case, row: &Row) -> Result<(), String> {
    let (ground, options) = prepare(case);
    let said = Said::read(&doctor(&ground, &options), "kernel");
    if !said.names(case.row) {
        return Err(format!("doctor does not name it for the kernel: {said:?}"));
    }
    let at = ground.at("m");
    let data = std::ffi::CString::new(options).unwrap();
    let ((mounted, seen), log) = logged(|| {
        let mounted = mount("o", &at, "overlay", MountFlags::empty(), data.as_c_str());
        let mut shell = Command::new("bash");
        let check = in_place(case.then, &ground);
        let seen = mounted
            .is_ok()
            .then(|| run(ground.here(shell.args(["-ec", &check]))));
        (mounted, seen)
    });
    if mounted.is_ok() {
        unmount(&at, UnmountFlags::DETACH).unwrap();
    }
    let verdict = match (row.kernel, mounted) {
        (Reaction::Refuses(expected), Err(errno)) if errno == expected => "refuses",
        (Reaction::Mounts | Reaction::Fails(_), Ok(())) => "works-with-less",
        (expected, got) => return Err(format!("{got:?}, not {expected:?}: {log}")),
    };
    if said.verdict != verdict {
        return Err(format!("doctor: {said:?}"));
    }
    if !log.contains(row.log) {
        return Err(format!("{UNLOGGED} {:?}: {log}", row.log));
    }
    match seen {
        Some(seen) if seen.status != Some(0) => {
            Err(format!("`{}` does not show it: {seen:?}", case.then))
        }
        _ => Ok(()),
    }
}

/// Writes the test's directory for `$`.
pub(crate) fn in_place(text: &str, ground: &Ground) -> String {
    text.replace("$/", &format!("{}/", ground.root().display()))
}

/// Mounts with Mica and says how it differs from what doctor said, if it does.
fn mica_differs(case: &Case) -> Result<(), String> {
    let (ground, options) = prepare(case);
    let before = tree(&ground);
    let said = Said::read(&doctor(&ground, &options), "mica");
    if tree(&ground) != before {
        return Err("doctor changed a directory".into());
    }
    let mounted = run(&mut ground.mica(&["mount", "-o", &options, "m"]));
    if said.verdict != case.mica {
        return Err(format!(
            "doctor says {said:?}, not {}; {mounted:?}",
            case.mica
        ));
    }
    if said.verdict != "refuses" {
        if mounted.status != Some(0) {
            return Err(format!("doctor says {said:?}, and {mounted:?}"));
        }
        assert_eq!(run(&mut ground.mica(&["umount", "m"])), ok());
        return Ok(());
    }
    // A mount stops at the first of what doctor lists.
    let first = Said {
        verdict: said.verdict,
        findings: said.findings.into_iter().take(1).collect(),
    };
    for words in first.words() {
        if !mounted.stderr.contains(&words) {
            return Err(format!("`{words}` is not said by the mount: {mounted:?}"));
        }
    }
    if mounted.status == Some(0) {
        return Err("doctor refuses, and it mounts".into());
    }
    Ok(())
}

/// Lists what is in the layers, with modes, owners and times.
fn tree(ground: &Ground) -> String {
    let script = "find l u l2 -printf '%p %m %U %G %T@ %C@\\n' 2>&1; find w w2 -printf '%p %m\\n'";
    let mut shell = Command::new("sh");
    run(ground.here(shell.args(["-c", script]))).stdout
}

#[test]
fn ovl_160_each_case_of_the_table_is_named_and_the_kernel_does_what_it_says() {
    let test = "ovl_160_each_case_of_the_table_is_named_and_the_kernel_does_what_it_says";
    let programs = ["mkfs.ext4", "fuse-overlayfs"];
    if !can_mount(test) || !programs.iter().all(|program| has_program(test, program)) {
        return;
    }
    let mut wrong = Vec::new();
    for case in cases() {
        let row = ROWS.iter().find(|row| row.id == case.row).unwrap();
        let asked = Instant::now();
        let differs = loop {
            match kernel_differs(case, row) {
                // The kernel writes no more than ten lines of a kind in five seconds.
                Err(how) if how.starts_with(UNLOGGED) && asked.elapsed() < RATE * 3 => {}
                differs => break differs,
            }
        };
        if let Err(how) = differs {
            wrong.push(format!("{} (kernel): {how}", case.row));
        }
        if let Err(how) = mica_differs(case) {
            wrong.push(format!("{} (mica): {how}", case.row));
        }
    }
    let made = cases().count();
    let right = made - wrong.len().min(made);
    eprintln!("doctor: {right} of {made} made cases are named");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_case_of_the_table_has_a_test() {
    let made = cases().map(|case| case.row);
    let shown: BTreeSet<_> = made
        .chain(IN_NAMESPACES.iter().copied())
        .chain(WITH_FUSE.iter().copied())
        .chain(PREDICTED.iter().map(|(row, _)| *row))
        .collect();
    let all: BTreeSet<_> = ROWS.iter().map(|row| row.id).collect();
    let missing: Vec<_> = all.difference(&shown).collect();
    let unknown: Vec<_> = shown.difference(&all).collect();
    eprintln!(
        "doctor: {} of {} cases have a test",
        shown.len() - unknown.len(),
        all.len()
    );
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "without: {missing:?}; no case: {unknown:?}"
    );
}

#[test]
fn ovl_160_every_condition_that_overlayfs_refuses_has_a_name() {
    let here: BTreeSet<_> = cases()
        .map(|case| case.row)
        .chain(IN_NAMESPACES.iter().copied())
        .chain(WITH_FUSE.iter().copied())
        .collect();
    let (mut made, mut predicted) = (0, 0);
    let mut nameless = Vec::new();
    for (condition, row) in CONDITIONS {
        let known = ROWS.iter().any(|known| known.id == *row);
        let why = PREDICTED.iter().find(|(id, _)| id == row);
        match why {
            _ if !known => nameless.push(format!("{condition}: no case {row}")),
            _ if here.contains(row) => made += 1,
            Some((_, why)) => {
                eprintln!("doctor: {condition} is predicted: {why}");
                predicted += 1;
            }
            None => nameless.push(format!("{condition}: {row} has no test")),
        }
    }
    eprintln!(
        "doctor: {} of {} conditions are named, {made} of them made here",
        made + predicted,
        CONDITIONS.len()
    );
    assert!(nameless.is_empty(), "{}", nameless.join("\n"));
    // Each case of the kernel's is that of a condition, or of what the kernel takes without a word.
    let named: BTreeSet<_> = CONDITIONS.iter().map(|(_, row)| *row).collect();
    let more = ROWS
        .iter()
        .filter(|row| !row.log.is_empty() && !named.contains(row.id));
    let more: Vec<_> = more.map(|row| row.id).collect();
    assert_eq!(more, ["work-without-upper", "closed"]);
}
