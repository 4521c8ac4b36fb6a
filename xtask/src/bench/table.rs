//! Medians and ratios, and how they are printed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::rows::{Bar, Row};

/// What was measured: by row and contestant, one time a round.
#[derive(Debug)]
pub(crate) struct Table {
    /// As they sit in this round.
    order: Vec<&'static str>,
    times: BTreeMap<(&'static str, &'static str), Vec<Duration>>,
}

/// Mica's time may be this much of the bar's.
const ALLOWED: f64 = 1.1;

impl Table {
    /// Makes an empty table for `contestants`.
    pub(crate) fn new(contestants: Vec<&'static str>) -> Self {
        Self {
            order: contestants,
            times: BTreeMap::new(),
        }
    }

    /// Adds a time of the contestant that sits at `index`.
    pub(crate) fn add(&mut self, row: &Row, index: usize, time: Duration) {
        if let Some(name) = self.order.get(index) {
            self.times.entry((row.name, name)).or_default().push(time);
        }
    }

    /// Follows the contestants when each moves to the next seat.
    pub(crate) fn rotate(&mut self) {
        self.order.rotate_left(1);
    }

    /// Writes the table.
    pub(crate) fn render(&self, rows: &[&Row], markdown: bool) -> String {
        let names: Vec<_> = super::seat::NAMES
            .into_iter()
            .filter(|name| self.order.contains(name))
            .collect();
        let mut lines = vec![vec!["workload".to_owned()]];
        let mut head = names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>();
        head.push("mica / kernel".to_owned());
        head.push("mica / faster fuse-overlayfs".to_owned());
        head.push("bar".to_owned());
        lines.iter_mut().for_each(|line| line.append(&mut head));
        for row in rows {
            lines.push(self.line(row, &names));
        }
        if markdown {
            render_markdown(&lines, rows)
        } else {
            render_plain(&lines)
        }
    }

    fn line(&self, row: &Row, names: &[&'static str]) -> Vec<String> {
        let kernel = self.median(row, "kernel");
        let mica = self.median(row, "mica");
        let fuse = [
            self.median(row, "fuse-overlayfs-1"),
            self.median(row, "fuse-overlayfs-2"),
        ]
        .into_iter()
        .flatten()
        .min();
        let mut line = vec![row.name.to_owned()];
        for name in names {
            let time = self.median(row, name);
            let shown = time.map_or("-".to_owned(), |time| {
                let relative =
                    ratio(Some(time), kernel).map_or(String::new(), |r| format!(" ({r:.2})"));
                format!("{:.2} ms{relative}", time.as_secs_f64() * 1e3)
            });
            line.push(shown);
        }
        let show = |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        let (to_kernel, to_fuse) = (ratio(mica, kernel), ratio(mica, fuse));
        line.push(show(to_kernel));
        line.push(show(to_fuse));
        let bar = match row.bar {
            Bar::Kernel => to_kernel.map(|ratio| ("kernel", ratio)),
            Bar::Fuse => to_fuse.map(|ratio| ("fuse-overlayfs", ratio)),
            Bar::None => None,
        };
        line.push(bar.map_or("-".to_owned(), |(whose, ratio)| {
            let verdict = if ratio <= ALLOWED { "met" } else { "MISSED" };
            format!("{verdict} ({ALLOWED} of {whose})")
        }));
        line
    }

    fn median(&self, row: &Row, name: &'static str) -> Option<Duration> {
        let mut times = self.times.get(&(row.name, name))?.clone();
        times.sort();
        times.get(times.len() / 2).copied()
    }
}

fn ratio(a: Option<Duration>, b: Option<Duration>) -> Option<f64> {
    Some(a?.as_secs_f64() / b?.as_secs_f64())
}

fn render_plain(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| {
        lines
            .iter()
            .filter_map(|line| line.get(column))
            .map(String::len)
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{cell:<width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn render_markdown(lines: &[Vec<String>], rows: &[&Row]) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "| {} |", line.join(" | "));
        if number == 0 {
            let _ = writeln!(
                text,
                "|---|{}",
                "---:|".repeat(line.len().saturating_sub(1))
            );
        }
    }
    text.push('\n');
    for row in rows {
        let _ = writeln!(text, "- `{}`: {}", row.name, row.about);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Table;
    use crate::bench::rows::ROWS;

    #[test]
    fn the_median_follows_a_contestant_from_seat_to_seat() {
        let row = &ROWS[0];
        let mut table = Table::new(vec!["kernel", "mica"]);
        for (kernel, mica) in [(10, 11), (20, 9), (30, 33)] {
            let times = if table.order[0] == "kernel" {
                [kernel, mica]
            } else {
                [mica, kernel]
            };
            for (index, time) in times.into_iter().enumerate() {
                table.add(row, index, Duration::from_millis(time));
            }
            table.rotate();
        }
        assert_eq!(table.median(row, "kernel"), Some(Duration::from_millis(20)));
        assert_eq!(table.median(row, "mica"), Some(Duration::from_millis(11)));
        let text = table.render(&[row], false);
        assert!(text.contains("0.55") && text.contains("met"), "{text}");
    }
}
