//! The command line of `mica diff`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};
use mica::Glob;

use super::session::glob;

/// Show what a session changed
///
/// Without an option it prints a line for each change: A added, M modified, D deleted, R renamed, T of another type. What
/// changed beside the content is named. Paths begin at the root of the session's view.
#[derive(Debug, Clone, Args)]
#[command(after_help = DIFF_HELP)]
pub(crate) struct DiffArgs {
    /// The session, by default the latest; then paths, to show what is at and below them. What has a `/` is a path
    #[arg(value_name = "SESSION|PATH")]
    pub(crate) words: Vec<OsString>,

    /// Show how many lines or bytes each change adds and takes away
    #[arg(long, group = "form")]
    pub(crate) stat: bool,

    /// Show the changes line by line, as git does
    #[arg(short = 'p', long, group = "form")]
    pub(crate) patch: bool,

    /// Print one JSON object
    #[arg(long, group = "form")]
    pub(crate) json: bool,

    /// Print only paths
    #[arg(long, group = "form")]
    pub(crate) name_only: bool,

    /// End each line with a NUL byte, and print paths as they are
    #[arg(short = '0', long = "null", conflicts_with_all = ["stat", "patch", "json"])]
    pub(crate) null: bool,

    /// List also what was in directories that are gone
    #[arg(long)]
    pub(crate) full: bool,

    /// Leave names out, as `mica do --ignore` does; may be repeated
    #[arg(long, value_name = "GLOB", value_parser = glob)]
    pub(crate) ignore: Vec<Glob>,

    /// Use colours: on a terminal, unless NO_COLOR is set, or as you say
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = When::Auto, num_args = 0..=1,
          require_equals = true, default_missing_value = "always")]
    pub(crate) color: When,

    /// Do not show it with $PAGER, or less, on a terminal
    #[arg(long)]
    pub(crate) no_pager: bool,
}

/// Work on a session in its user namespace, for the one at the other end of stdin
#[derive(Debug, Args)]
pub(crate) struct WithinArgs {
    #[arg(
        value_name = "ARGUMENT",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) arguments: Vec<OsString>,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

const DIFF_HELP: &str = r"Examples:
  mica diff
  mica diff 3 --stat /etc
  mica diff try --patch | git apply --stat
  mica diff -0 --name-only | xargs -0 ls -ld";
