//! b
use anyhow::Result;
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {}
pub(crate) fn bench(_: &BenchArgs) -> Result<()> {
    Ok(())
}
