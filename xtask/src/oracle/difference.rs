//! The differences from kernel overlayfs that docs/semantics.md numbers, and what the oracle does about each.
//!
//! | number | what the oracle does |
//! |---|---|
//! | D-1, D-2 | who opens a file for writing changes it at once; the two calls have one result (`call`) |
//! | D-3 | access times are not compared |
//! | D-4 | what a read-only mapping shows is compared with what the kernel's file has (`call::mapped`) |
//! | D-5 | setuid and setgid are taken from a file before these calls (`call`) |
//! | D-6 | `trusted.*` does not count in what others than root are told (`call::questions`) |
//! | D-7 | offsets are used with the open directory that gave them (`call::questions`) |
//! | D-8 | all layers of a run lie on one filesystem |
//! | D-9 | none of these is compared (`call::questions`) |
//! | D-10 | they are not called |
//! | D-11 | the kernel mounts an upper that has something in it before both sides do (`side`) |
//! | D-12 | they are left out, or masked for whiteouts (`side`, and `Lens::upper` of `dump`) |
//! | D-13 | it is masked (`side`) |
//! | D-14 | it is left out (`Lens::upper` of `dump`) |
//! | D-16 | no marks of the other namespace are set (`set`) |
//! | D-15, D-17, D-18, D-21 | no disk is full or failing, and no such layers are stacked |
//! | D-19 | what flags protect is refused for one of two reasons (`protected`); who has it open does not write (`call::held`); an append-only file is not opened to write elsewhere than at its end (`call`) |
//! | D-20 | no layout has a malformed mark |
//! | D-22 | every owner has a mapping |
//! | D-23 | no upper has a redirect where redirects are refused (`set`) |
//! | D-24 | what lost its name is changed by writers only, who copied it up before; pipes and devices are not held open (`call::held`) |
//! | D-25 | it is not drawn (`draw::operation`) |
//! | D-26, D-27 | no path is that long, and no layout has a digest |
//! | D-28 | every option set says what it wants (`set`) |
//! | D-29 | lowers with such files are mounted with `index=on` alone (`set`), and nothing is held open there (`draw`) |
//! | D-30 | all layers of a run lie on one filesystem, and ordinary users ask for no index |
//! | D-31 | neither is drawn (`draw::operation`) |
//! | D-32 | the links of what lost the name that it was opened by are not compared (`call::held`) |
//! | D-33 | in a user namespace origins are not compared, numbers within one mount only (`side`), and `impure` not at all (`purity`) |
//! | D-34 | with `userxattr` no link(2), of a name or of what is held, is drawn (`set`) |
//! | D-35 | it is left out of directories that do not merge and hold no origin (`purity`) |
//! | D-36 | no flag is set that the filesystem of the layers lacks (`ground`) |
//! | D-37 | what was stored is written before (`arena`), and nothing behind the end of a file is looked at (`call::mapped`) |
//! | D-38 | it is taken from a file before a store into it (`call::mapped`) |
//! | D-39 | a file is read before a load from its mapping (`call::mapped`) |
//!
//! `cargo xtask tidy` compares these numbers with those of the page, both ways.

/// How many there are. A further one needs the kernel's source or the FUSE limit that forces it.
pub(crate) const DIFFERENCES: usize = 39;
