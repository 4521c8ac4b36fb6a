//! `cargo xtask bench`: Mica against kernel overlayfs and both fuse-overlayfs, in one run.
//!
//! Each contestant has a fresh ext4 of its own, with the same lower. Rounds are interleaved, row by row, and start
//! with another contestant each time, so that a slow minute of the machine hits all of them. What is printed are
//! medians, and ratios: absolute times of one machine say little.

mod rows;
mod seat;
mod table;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::need::Need;
use crate::private;
use crate::repo;
use crate::run::run;
use rows::{ROWS, Row};
use seat::Seat;
use table::Table;

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// How often each row is measured; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Measure this row alone (can be repeated)
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// Let only this contestant take part (can be repeated)
    #[arg(long = "contestant", value_name = "NAME")]
    contestants: Vec<String>,
    /// Print the table in Markdown, for docs/performance.md
    #[arg(long)]
    markdown: bool,
    /// List the rows and the contestants
    #[arg(long)]
    list: bool,
}

/// Measures and prints the table.
pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    if args.list {
        ROWS.iter()
            .for_each(|row| println!("{:<16} {}", row.name, row.about));
        println!("\ncontestants: {}", seat::NAMES.join(" "));
        return Ok(());
    }
    let words = words(args);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if !private::inside() {
        let needs = [Need::Root, Need::Fuse, Need::Loop, Need::KernelOverlay];
        if let Some(why) = needs.into_iter().find_map(Need::missing) {
            bail!("cannot measure: {why}");
        }
        if cfg!(debug_assertions) {
            // The measuring loops are part of what is measured.
            return run(repo::cargo()?
                .args([
                    "run",
                    "--quiet",
                    "--release",
                    "--locked",
                    "--package",
                    "xtask",
                    "--",
                ])
                .args(words));
        }
        return run(&mut private::command(&words)?);
    }
    measure_all(args)
}

/// Writes the arguments as words again, for the process that measures.
fn words(args: &BenchArgs) -> Vec<String> {
    let mut words = vec!["bench".to_owned(), format!("--rounds={}", args.rounds)];
    words.extend(args.rows.iter().map(|row| format!("--row={row}")));
    words.extend(
        args.contestants
            .iter()
            .map(|name| format!("--contestant={name}")),
    );
    if args.markdown {
        words.push("--markdown".to_owned());
    }
    words
}

fn measure_all(args: &BenchArgs) -> Result<()> {
    let rows = select_rows(&args.rows)?;
    let mut seats = Vec::new();
    for name in seat::NAMES {
        if !args.contestants.is_empty() && !args.contestants.iter().any(|wanted| wanted == name) {
            continue;
        }
        match seat::driver(name)? {
            Some(driver) => seats.push(Seat::new(name, driver, args.rounds)?),
            None => eprintln!("{name} is not installed and does not take part"),
        }
    }
    if seats.is_empty() {
        bail!("no such contestant; there are {}", seat::NAMES.join(", "));
    }
    let mut table = Table::new(seats.iter().map(|seat| seat.name).collect());
    for round in 0..args.rounds {
        for row in &rows {
            for (index, seat) in seats.iter_mut().enumerate() {
                let time = row
                    .measure(seat, round)
                    .with_context(|| format!("{} on {}", row.name, seat.name))?;
                table.add(row, index, time);
            }
        }
        eprintln!("round {} of {} done", round.saturating_add(1), args.rounds);
        seats.rotate_left(1);
        table.rotate();
    }
    print!("{}", table.render(&rows, args.markdown));
    seats.into_iter().try_for_each(Seat::leave)
}

fn select_rows(names: &[String]) -> Result<Vec<&'static Row>> {
    if names.is_empty() {
        return Ok(ROWS.iter().collect());
    }
    names
        .iter()
        .map(|name| {
            ROWS.iter()
                .find(|row| row.name == name)
                .with_context(|| format!("no row `{name}`; see --list"))
        })
        .collect()
}
