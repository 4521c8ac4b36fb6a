//! Tests of the `mica` program, run as a user runs it.

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says on stderr why it did not run"
)]

mod bad_marks;
mod beside;
mod carried;
mod check;
mod coherence;
mod commit;
mod commit_across;
mod commit_conflicts;
mod commit_metacopies;
mod commit_open;
mod commit_stopped;
mod commit_turns;
mod diff;
mod diff_forms;
mod diff_users;
mod do_access;
mod do_base;
mod do_contained;
mod do_count;
mod do_end;
mod do_first;
mod do_fork;
mod do_hostile;
mod do_join;
mod do_kernel;
mod do_limits;
mod do_live;
mod do_lookup;
mod do_options;
mod do_run;
mod do_signals;
mod do_take_back;
mod do_terminal;
mod do_tree;
mod do_unlisted;
mod do_users;
mod doctor_cases;
mod doctor_depth;
mod doctor_rows;
mod doctor_users;
mod durability;
mod export_archive;
mod export_layers;
mod export_streams;
mod export_users;
mod export_whole;
mod features;
mod features_scripted;
mod foreground;
mod foreign;
mod fuse_overlayfs;
mod ground;
mod identity;
mod idmapped;
mod import_hostile;
mod import_users;
mod layers;
mod library;
mod life;
mod life_killed;
mod life_over;
mod life_pressure;
mod life_remount;
mod limits;
mod metacopies;
mod nameless;
mod nested;
mod once;
mod options;
mod personalities;
mod pointing;
mod protected;
mod quota;
mod recovery;
mod redirects;
mod refusals;
mod remount;
mod sandbox;
mod serving;
mod shared;
mod sharing;
mod talk;
mod terminal;
mod unprivileged;
mod usage;
mod users;
mod users_other;
mod xwhiteouts;
