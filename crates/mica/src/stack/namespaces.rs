//! The mount tables of this machine, one for each mount namespace that /proc shows.
//!
//! A namespace is seen through a process in it. Those of other users are closed to an ordinary user, those without a
//! process (kept by a bind mount) and those of foreign PID namespaces to everyone: what is mounted there is not found.

use std::collections::HashSet;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

/// What is mounted in a mount namespace.
#[derive(Debug)]
pub(super) struct MountTable {
    /// A process in the namespace; `None`: this process.
    pub(super) process: Option<u32>,
    /// The text of its mountinfo(5).
    pub(super) text: Vec<u8>,
}

impl MountTable {
    /// Returns the directory that leads to what the process sees as `/`.
    pub(super) fn root(&self) -> PathBuf {
        match self.process {
            Some(pid) => format!("/proc/{pid}/root").into(),
            None => "/".into(),
        }
    }
}

/// Reads the mount tables of all namespaces in sight, that of this process first.
pub(super) fn mount_tables() -> Vec<MountTable> {
    let mut tables = Vec::new();
    if let Ok(text) = fs::read("/proc/self/mountinfo") {
        let process = None;
        tables.push(MountTable { process, text });
    }
    let mut seen = HashSet::new();
    if let Ok(own) = fs::metadata("/proc/self/ns/mnt") {
        seen.insert((own.ino(), b"/".to_vec()));
    }
    for pid in processes() {
        let Some(view) = view_of(pid, &seen) else {
            continue;
        };
        // It may end meanwhile; the others in its namespace still tell.
        if let Ok(text) = fs::read(format!("/proc/{pid}/mountinfo"))
            && !text.is_empty()
        {
            seen.insert(view);
            let process = Some(pid);
            tables.push(MountTable { process, text });
        }
    }
    tables
}

/// Returns the processes of this machine that can be asked about; none where /proc is not mounted.
pub(super) fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| may_be_asked(pid))
}

/// Tells whether asking a process for more than its status ends. The kernel lets who asks wait for one that is stuck in
/// uninterruptible sleep, for ever if that never ends: a mount must not wait for what goes on elsewhere.
fn may_be_asked(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| !state.trim_start().starts_with(['D', 'Z', 'X']))
}

/// Returns namespace and root of a process whose table is worth reading: a table shows what lies below the root.
fn view_of(pid: u32, seen: &HashSet<(u64, Vec<u8>)>) -> Option<(u64, Vec<u8>)> {
    let namespace = fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?.ino();
    let whole = (namespace, b"/".to_vec());
    if seen.contains(&whole) {
        return None;
    }
    let root = fs::read_link(format!("/proc/{pid}/root")).ok()?;
    let view = (namespace, root.into_os_string().into_vec());
    (!seen.contains(&view)).then_some(view)
}
