//! t
use anyhow::Result;
pub(crate) fn tidy() -> Result<()> {
    Ok(())
}
