//! The oracle, with the number of sequences that a test run has time for.

use anyhow::Result;

use crate::driver::Subject;

/// Compares `subject` with kernel overlayfs.
pub(crate) fn oracle(subject: Subject) -> Result<()> {
    crate::oracle::tier(subject)
}
