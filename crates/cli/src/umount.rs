//! `mica umount`

use mica::Busy;

use crate::args::UmountArgs;
use crate::error::CliError;

pub(crate) fn run(args: &UmountArgs) -> Result<(), CliError> {
    let busy = if args.lazy { Busy::Detach } else { Busy::Fail };
    mica::unmount(&args.mountpoint, busy).map_err(|source| CliError::Unmount {
        mountpoint: args.mountpoint.clone(),
        source,
    })
}
