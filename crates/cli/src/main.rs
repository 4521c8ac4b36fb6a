//! The `mica` command.
//!
//! `main` parses, calls and maps to an exit status: 0 done, 1 failed, 2 wrong usage. stdout is data, stderr is talk.

#![forbid(unsafe_code)]

mod args;
mod background;
mod cause;
mod describe;
mod error;
mod log;
mod mount;
mod serve;
mod stats;
mod umount;
mod unmount_helper;
mod warning;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return error::print_usage(&refused),
    };
    let done = match cli.command {
        Command::Mount(args) => mount::run(&args),
        Command::Umount(args) => umount::run(&args),
        Command::UnmountHelper(args) => unmount_helper::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(),
    }
}
