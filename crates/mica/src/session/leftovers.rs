//! What a command leaves running in a session that goes on without it.

use std::fs;

use mica_vfs::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};

/// So often it is looked whether what was killed had started something before.
const ROUNDS: usize = 100;

/// Ends a command and all that runs in its session (setsid(2)), of which it is the leader. What has made a session of its own
/// runs until the last command ends.
pub(super) fn end(command: Pid) {
    // Without /proc this has to do.
    gone(kill_process_group(command, Signal::KILL));
    for _ in 0..ROUNDS {
        let left = of_session(command);
        if left.is_empty() {
            return;
        }
        for process in left {
            gone(kill_process(process, Signal::KILL));
        }
    }
}

/// Ends all but this process, which is init, and reaps them.
pub(super) fn end_all() {
    loop {
        // That of process 1 stands for all of the PID namespace but this process.
        gone(kill_process_group(Pid::INIT, Signal::KILL));
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn gone(killed: Result<(), Errno>) {
    if let Err(errno) = killed {
        tracing::debug!(%errno, "there is nothing to end");
    }
}

/// Finds the processes of a session that still run.
fn of_session(leader: Pid) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let session = leader.as_raw_pid();
    let members = numbers.filter(|pid| {
        let stat = fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
        runs_in(&stat, session)
    });
    members.filter_map(Pid::from_raw).collect()
}

/// Reads proc_pid_stat(5): after the name, which is in parentheses and may hold anything, come state, parent, group, session.
fn runs_in(stat: &[u8], session: i32) -> bool {
    let after = stat.rsplit(|&byte| byte == b')').next().unwrap_or_default();
    let fields: Vec<_> = after
        .split(|&byte| byte == b' ')
        .filter(|field| !field.is_empty())
        .collect();
    let dead = matches!(fields.first(), Some(&(b"Z" | b"X")));
    let session = session.to_string();
    !dead && fields.get(3) == Some(&session.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_found_behind_any_name() {
        assert!(runs_in(b"7 (a) S 9 ) R 1 7 42 0 -1", 42));
        assert!(!runs_in(b"7 (sh) Z 1 7 42 0 -1", 42));
        assert!(!runs_in(b"7 (sh) S 1 42 7 0 -1", 42));
        assert!(!runs_in(b"", 42));
    }
}
