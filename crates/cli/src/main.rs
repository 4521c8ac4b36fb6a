//! The `mica` command.
//!
//! `main` parses, calls and maps to an exit status: 0 done, 1 failed, 2 wrong usage. stdout is data, stderr is talk.
//! Called by the name of another program, it takes that program's command line and gives its exit statuses
//! ([`personality`]).

#![forbid(unsafe_code)]

mod args;
mod ask;
mod background;
mod cause;
mod check;
mod closing;
mod commit;
mod convert;
mod deadline;
mod describe;
mod diff;
mod doctor;
mod error;
mod export;
mod import;
mod left_out;
mod log;
mod mount;
mod personality;
#[cfg(feature = "planted")]
mod planted;
mod print;
mod progress;
mod run;
mod run_spec;
mod serve;
mod sessions;
mod settle;
mod stats;
mod terminal;
mod umount;
mod unmount_helper;
mod warning;
mod within;

use std::env;
use std::process::ExitCode;

use clap::Parser as _;
use mica::Manner;

use args::{Cli, Command};
use personality::Personality;

fn main() -> ExitCode {
    #[cfg(feature = "planted")]
    if let Some(status) = planted::plant() {
        return status;
    }
    let status = run();
    #[cfg(feature = "planted")]
    planted::note_met();
    status
}

/// Does what the command line says.
fn run() -> ExitCode {
    let mut words = env::args_os();
    let called = words.next().unwrap_or_default();
    if let Some(personality) = Personality::of(&called) {
        return personality.run(words.collect());
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(refused) => return error::print_usage(&refused),
    };
    match cli.command {
        Command::Mount(args) => error::status(mount::run(&args), args.manner),
        Command::Check(args) => check::run(&args),
        Command::Convert(args) => error::status(convert::run(&args), Manner::Mica),
        Command::Export(args) => error::status(export::run(&args), Manner::Mica),
        Command::Import(args) => error::status(import::run(&args), Manner::Mica),
        Command::Tar(args) => error::status(export::tar(&args), Manner::Mica),
        Command::Umount(args) => error::status(umount::run(&args), Manner::Mica),
        Command::Do(args) => run::run(&args),
        Command::Diff(args) => within::outside(&args),
        Command::Commit(args) => commit::start(&args),
        Command::Shell(args) => run::shell(&args),
        Command::Sessions(args) => error::status(sessions::list(&args), Manner::Mica),
        Command::Discard(args) => sessions::discard(&args),
        Command::DoStage => error::status(run::stage(), Manner::Mica),
        Command::DoWithin(args) => within::inside(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::UnmountHelper(args) => error::status(unmount_helper::run(&args), Manner::Mica),
    }
}
