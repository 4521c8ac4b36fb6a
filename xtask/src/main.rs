//! The repository's own tasks: `cargo xtask tidy`, `test` and `bench`.
//!
//! xtask links no crate of Mica. It reads the sources (`tidy`) or drives finished programs (`test`, `bench`), so a
//! test here sees what a user sees, and a broken engine does not break the tool that says so.
//!
//! Whatever mounts runs in mount and PID namespaces of its own (see `private`): when a task ends, in whichever
//! way, its mounts, loop devices and servers end with it.

#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for developers: its output is what it is for"
)]

mod bench;
mod demo;
mod driver;
mod dump;
mod image;
mod need;
mod oracle;
mod private;
mod repo;
mod rng;
mod run;
mod stress;
mod test;
mod tidy;
mod tier;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Tidy, tests and benchmarks of Mica.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Build Mica, mount an overlay on real directories, change a file through it
    Demo,
    /// Check the house rules that the compiler does not know
    Tidy,
    /// Run every test tier that this machine can run, and name those that it cannot
    Test(test::TestArgs),
    /// Measure Mica against kernel overlayfs and fuse-overlayfs in one run
    Bench(bench::BenchArgs),
    /// Compare a subject with kernel overlayfs, operation by operation
    Oracle(oracle::OracleArgs),
    /// Compare in one of the jobs that `oracle` starts
    #[command(hide = true)]
    OracleJob(oracle::JobArgs),
    /// Go on with a job inside its user namespace
    #[command(hide = true)]
    OracleSeat(oracle::JobArgs),
    /// Do what a job asks for, line by line
    #[command(hide = true)]
    OracleWorker(oracle::Who),
    /// Stress kernel overlayfs and a subject side by side: one file, one tree, stress-ng
    Stress(stress::StressArgs),
    /// Print a tree with types, modes, owners, times, xattrs and content hashes
    Dump {
        /// The directory to print
        dir: std::path::PathBuf,
    },
    /// Run one tier in this process, inside the namespaces that `test` made for it
    #[command(hide = true)]
    Tier(test::TierArgs),
}

fn main() -> ExitCode {
    let done = if private::is_first() {
        private::reap()
    } else {
        execute(Args::parse().task).map(|()| ExitCode::SUCCESS)
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            for (number, cause) in error.chain().skip(1).enumerate() {
                eprintln!("  {}: {cause}", number.saturating_add(1));
            }
            ExitCode::FAILURE
        }
    }
}

fn execute(task: Task) -> Result<()> {
    match task {
        Task::Demo => demo::demo(),
        Task::Tidy => tidy::tidy(),
        Task::Test(args) => test::test(&args),
        Task::Bench(args) => bench::bench(&args),
        Task::Oracle(args) => oracle::main(&args),
        Task::OracleJob(args) => oracle::run_job(&args),
        Task::OracleSeat(args) => oracle::sit_down(&args),
        Task::OracleWorker(who) => oracle::serve(&who),
        Task::Stress(args) => stress::main(&args),
        Task::Dump { dir } => {
            print!("{}", dump::render(&dump::read(&dir)?));
            Ok(())
        }
        Task::Tier(args) => test::run_tier(&args),
    }
}
