//! `mica mount`

use mica::MountSpec;

use crate::args::MountArgs;
use crate::background;
use crate::error::CliError;
use crate::serve;

pub(crate) fn run(args: &MountArgs) -> Result<(), CliError> {
    let spec = MountSpec::parse(&args.options)?;
    if args.server || args.foreground {
        return serve::run(args, &spec);
    }
    if args.stats == Some(None) && args.log.is_none() {
        return Err(CliError::NowhereForStats);
    }
    background::start(args)
}
