//! Many strikes at a time. One that fails does not keep the others from being made.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::log::Listener;

/// Works on all `jobs`, on as many threads as there are processors.
///
/// # Panics
///
/// If some failed, with all of their messages.
pub(crate) fn work_on<J: Sync>(jobs: &[J], work: impl Fn(&J, &Listener, &Failures) + Sync) {
    let (at, failures) = (AtomicUsize::new(0), Failures::default());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let log = Listener::new();
                while let Some(job) = jobs.get(at.fetch_add(1, Ordering::Relaxed)) {
                    work(job, &log, &failures);
                }
            });
        }
    });
    let failures = failures.0.into_inner().unwrap();
    let text: Vec<_> = failures
        .iter()
        .map(|(what, why, count)| format!("{what} (and {} more): {why}", count - 1))
        .collect();
    assert!(
        text.is_empty(),
        "{} operations\n{}",
        text.len(),
        text.join("\n")
    );
}

/// What went wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Failures(Mutex<Vec<(String, String, usize)>>);

impl Failures {
    /// Runs `check`, and notes why it panics.
    pub(crate) fn catch<T>(&self, what: &str, check: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(check)) {
            Ok(done) => Some(done),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                let text = text.unwrap_or_default();
                self.note(what, text);
                None
            }
        }
    }

    /// Notes a failure; the same one of the same operation is counted.
    fn note(&self, what: &str, why: String) {
        let mut all = self.0.lock().unwrap();
        let operation = |what: &str| what.split(',').next().map(str::to_owned);
        let known = all
            .iter_mut()
            .find(|(other, text, _)| operation(other) == operation(what) && *text == why);
        match known {
            Some((.., count)) => *count += 1,
            None => all.push((what.to_owned(), why, 1)),
        }
    }
}
