//! A watch over the servers: one that answers nothing for long is killed, which frees whoever waits for it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long one operation may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The server of Mica at the moment, 0 for none. A job has one at a time.
static SERVER: AtomicU32 = AtomicU32::new(0);
/// Counts what was done.
static STEPS: AtomicU64 = AtomicU64::new(0);

/// Notes who serves.
pub(super) fn set(driver: &str, server: Option<u32>) {
    if driver != "kernel" {
        SERVER.store(server.unwrap_or(0), Ordering::Relaxed);
    }
}

/// Notes that something was done.
pub(super) fn step() {
    STEPS.fetch_add(1, Ordering::Relaxed);
}

/// Watches until this process ends.
pub(super) fn start() {
    std::thread::spawn(|| {
        let mut last = (STEPS.load(Ordering::Relaxed), Instant::now());
        loop {
            // What it waits for is that nothing happens.
            std::thread::sleep(Duration::from_millis(500));
            let steps = STEPS.load(Ordering::Relaxed);
            if steps != last.0 {
                last = (steps, Instant::now());
            } else if last.1.elapsed() > PATIENCE {
                let pid = i32::try_from(SERVER.load(Ordering::Relaxed)).ok();
                if let Some(pid) = pid.and_then(Pid::from_raw) {
                    println!("nothing happens since {PATIENCE:?}: killing the server");
                    // It may have ended by itself.
                    let _ = kill_process(pid, Signal::KILL);
                }
                last = (steps, Instant::now());
            }
        }
    });
}
