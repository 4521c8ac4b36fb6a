//! What the overlay says of a copy-up that fails: the step.

use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Metadata, Subscriber};

/// Listens to the log of this thread for as long as it lives.
pub(crate) struct Listener {
    steps: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Listener {
    pub(crate) fn new() -> Self {
        let steps = Arc::<Mutex<Vec<String>>>::default();
        let guard = tracing::subscriber::set_default(Log(Arc::clone(&steps)));
        Self {
            steps,
            _guard: guard,
        }
    }

    /// Returns the steps of copy-ups that failed since the last call, by name.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.steps.lock().unwrap())
    }
}

struct Log(Arc<Mutex<Vec<String>>>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("mica_overlay::copy_up")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut StepOf(&self.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct StepOf<'a>(&'a Mutex<Vec<String>>);

impl Visit for StepOf<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "step" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}
