//! What a session counts.
//!
//! Every counter is atomic and stands alone: a reader may see one request counted and its bytes not yet.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::wire::Opcode;

/// The counters of one session.
#[derive(Debug)]
pub struct SessionStats {
    /// Requests per opcode. Atomic.
    requests: [AtomicU64; Opcode::COUNT],
    /// Requests with an opcode that the protocol does not have. Atomic.
    unknown: AtomicU64,
    /// Requests answered with an error. Atomic.
    errors: AtomicU64,
    /// Requests whose handler panicked. Atomic.
    panics: AtomicU64,
    /// Bytes sent to readers of files. Atomic.
    bytes_read: AtomicU64,
    /// Bytes taken from writers of files. Atomic.
    bytes_written: AtomicU64,
    /// References given back. Atomic.
    forgets: AtomicU64,
    /// References given out. Atomic.
    references: AtomicU64,
}

impl Default for SessionStats {
    fn default() -> Self {
        Self {
            requests: [const { AtomicU64::new(0) }; Opcode::COUNT],
            unknown: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            bytes_written: AtomicU64::new(0),
            forgets: AtomicU64::new(0),
            references: AtomicU64::new(0),
        }
    }
}

impl SessionStats {
    /// Lists the requests that came, by name, with their number.
    pub fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Opcode::ALL
            .iter()
            .map(|&opcode| (opcode.name(), self.count_of(opcode)))
            .filter(|&(_, count)| count > 0)
    }

    /// Returns how many requests of that name came.
    #[must_use]
    pub fn requests_named(&self, name: &str) -> u64 {
        self.requests()
            .find(|&(known, _)| known == name)
            .map_or(0, |(_, count)| count)
    }

    /// Returns how many requests came in all.
    #[must_use]
    pub fn requests_in_all(&self) -> u64 {
        let known: u64 = self.requests.iter().map(|count| count.load(Relaxed)).sum();
        known + self.unknown.load(Relaxed)
    }

    /// Returns how many requests were answered with an error.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// Returns how many requests panicked and were answered `EIO`.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Returns how many bytes of files were sent.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Relaxed)
    }

    /// Returns how many bytes of files were taken.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.bytes_written.load(Relaxed)
    }

    /// Returns how many references the kernel gave back.
    #[must_use]
    pub fn forgets(&self) -> u64 {
        self.forgets.load(Relaxed)
    }

    /// Returns how many references the kernel holds: those given out less those given back.
    #[must_use]
    pub fn references_held(&self) -> u64 {
        let forgets = self.forgets.load(Relaxed);
        self.references.load(Relaxed).saturating_sub(forgets)
    }

    fn count_of(&self, opcode: Opcode) -> u64 {
        self.requests
            .get(opcode.index())
            .map_or(0, |count| count.load(Relaxed))
    }

    pub(crate) fn came(&self, opcode: Option<Opcode>) {
        let counter = opcode.and_then(|opcode| self.requests.get(opcode.index()));
        counter.unwrap_or(&self.unknown).fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.bytes_read.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn wrote(&self, bytes: usize) {
        self.bytes_written.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn forgot(&self, references: u64) {
        self.forgets.fetch_add(references, Relaxed);
    }

    pub(crate) fn gave_reference(&self) {
        self.references.fetch_add(1, Relaxed);
    }

    pub(crate) fn took_reference_back(&self) {
        self.references.fetch_sub(1, Relaxed);
    }
}
