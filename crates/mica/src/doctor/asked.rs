//! Mount options as the kernel's overlayfs reads them.

use std::path::{Path, PathBuf};

use mica_overlay::LAYERS_MAX;

use super::finding::Finding;
use super::machine::Machine;
use super::rows;
use crate::Escaped;
use crate::options::{OptionError, Written, cut, path, unescape, unescape_comma};

/// What mount(2) copies of an option string; the last byte is a NUL.
const PAGE: usize = 4096;

/// What a mount asks the kernel's overlayfs for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Topmost first.
    pub(super) lowers: Vec<PathBuf>,
    /// Data-only ones.
    pub(super) data: Vec<PathBuf>,
    pub(super) upper: Option<PathBuf>,
    pub(super) work: Option<PathBuf>,
    pub(super) userxattr: bool,
    pub(super) volatile: bool,
    /// `name=value` of options with a few values; the last one given of each.
    chosen: Vec<(&'static str, &'static str)>,
    /// What the kernel refuses in the options alone.
    pub(super) findings: Vec<Finding>,
}

/// Options that have one of a few values.
const CHOICES: [(&str, &[&str]); 8] = [
    ("redirect_dir", &["on", "follow", "nofollow", "off"]),
    ("index", &["on", "off"]),
    ("nfs_export", &["on", "off"]),
    ("xino", &["on", "auto", "off"]),
    ("metacopy", &["on", "off"]),
    ("verity", &["on", "require", "off"]),
    ("uuid", &["auto", "on", "null", "off"]),
    ("fsync", &["auto", "ordered", "strict", "volatile"]),
];

/// Options that have an effect and no value, or none at all.
const FLAGS: [&str; 3] = ["default_permissions", "override_creds", "nooverride_creds"];

impl Asked {
    pub(super) fn of(options: &[Written], machine: &Machine) -> Self {
        let mut asked = Self::default();
        for (name, value) in options {
            asked.read(name, value.as_deref());
        }
        asked.check(machine);
        let length: usize = options
            .iter()
            .map(|(name, value)| name.len() + value.as_ref().map_or(0, |v| v.len() + 1) + 1)
            .sum();
        if length > PAGE {
            asked.findings.push(Finding::kernel(
                &rows::OPTIONS_CUT,
                format!("{length} bytes of options are cut after {}: mount(2) copies one page", PAGE - 1),
                "name each layer by its own `-o lowerdir+=DIR` with util-linux 2.39 and Linux 6.8, or use shorter paths, relative ones among them",
            ));
        }
        asked
    }

    /// Tells whether an option was given this value.
    pub(super) fn has(&self, name: &str, value: &str) -> bool {
        self.chosen.contains(&(name, value))
    }

    /// Returns the value of an option, if it was given.
    pub(super) fn value(&self, name: &str) -> Option<&'static str> {
        let mut chosen = self.chosen.iter();
        chosen
            .find(|(own, _)| *own == name)
            .map(|(_, value)| *value)
    }

    /// Tells whether an option that is `on` or `off` is on, by itself, by one that implies it, or by the module's default.
    pub(super) fn is_on(&self, name: &str, machine: &Machine) -> bool {
        match self.value(name) {
            Some(value) => value == "on",
            None if name == "index" && self.is_on("nfs_export", machine) => true,
            None if name == "metacopy" && self.userxattr => false,
            None => machine.parameter(name),
        }
    }

    /// Tells whether redirects of directories are followed.
    pub(super) fn follows(&self, machine: &Machine) -> bool {
        let always = machine.parameter("redirect_always_follow");
        match self.value("redirect_dir") {
            Some("on" | "follow") => true,
            Some("nofollow") => false,
            Some(_) => always,
            None if self.userxattr => false,
            None => always || machine.parameter("redirect_dir") || self.has("metacopy", "on"),
        }
    }

    fn read(&mut self, name: &[u8], value: Option<&[u8]>) {
        let text = String::from_utf8_lossy(name).into_owned();
        match (text.as_str(), value) {
            ("lowerdir", Some(value)) => self.read_lowers(value),
            ("lowerdir+", Some(value)) => {
                self.lowers.push(path(unescape_comma(value)));
            }
            ("datadir+", Some(value)) => self.data.push(path(unescape_comma(value))),
            ("upperdir", Some(value)) => self.upper = Some(path(unescape(value))),
            ("workdir", Some(value)) => self.work = Some(path(unescape(value))),
            ("userxattr", None) => self.userxattr = true,
            ("volatile", None) => self.volatile = true,
            (flag, None) if FLAGS.contains(&flag) => {}
            (name, value) => match CHOICES.iter().find(|(known, _)| *known == name) {
                Some((known, values)) => self.choose(known, values, value),
                None => self.findings.push(unknown(name)),
            },
        }
    }

    fn choose(&mut self, name: &'static str, values: &[&'static str], value: Option<&[u8]>) {
        let given = value.unwrap_or_default();
        match values.iter().find(|known| known.as_bytes() == given) {
            Some(known) => {
                self.volatile |= (name, *known) == ("fsync", "volatile");
                self.chosen.retain(|(own, _)| *own != name);
                self.chosen.push((name, known));
            }
            None => self.findings.push(Finding::kernel(
                &rows::BAD_VALUE,
                format!(
                    "mount option `{name}` of the kernel's overlayfs has no value {}",
                    Escaped::new(&path(given.to_vec()))
                ),
                format!("write `{name}=` with one of {}", values.join(", ")),
            )),
        }
    }

    /// Cuts `a:b::c`: layers, and after two colons those that hold data alone.
    fn read_lowers(&mut self, value: &[u8]) {
        self.lowers.clear();
        self.data.clear();
        let refuse = |error: OptionError| {
            let hint = error.hint();
            Finding::of_kernel(&rows::COLONS, error, hint)
        };
        let parts: Vec<&[u8]> = cut(value, b':').collect();
        match parts.as_slice() {
            [[], _, ..] => {
                return self.findings.push(Finding::kernel(
                    &rows::ONLY_DATA,
                    "the first layer of `lowerdir` is empty, or one of data alone".into(),
                    "begin with a directory whose names are to be seen, as in `-o lowerdir=DIR::DATA`",
                ));
            }
            [_, .., []] => return self.findings.push(refuse(OptionError::TrailingColon)),
            _ => {}
        }
        if parts.windows(2).any(|pair| matches!(pair, [[], []])) {
            return self.findings.push(refuse(OptionError::EmptyLower));
        }
        let mut data = false;
        for (n, part) in parts.iter().enumerate() {
            let after_two = n > 0 && parts.get(n - 1).is_some_and(|before| before.is_empty());
            match part {
                [] => data = true,
                part if data && after_two => self.data.push(path(unescape(part))),
                part if data => {
                    self.lowers.push(path(unescape(part)));
                    self.findings.push(Finding::kernel(
                        &rows::LOWER_AFTER_DATA,
                        format!(
                            "lowerdir {} comes after a layer that holds data alone",
                            Escaped::new(&path(unescape(part)))
                        ),
                        "name the layers of data last, each after two colons, as in `-o lowerdir=A:B::DATA`",
                    ));
                }
                part => self.lowers.push(path(unescape(part))),
            }
        }
    }

    /// Checks what the options are together (ovl_fs_params_verify).
    fn check(&mut self, machine: &Machine) {
        let mut found = Vec::new();
        let mut refuse = |error: OptionError| {
            let hint = error.hint();
            found.push(Finding::of_kernel(row_of(&error), error, hint));
        };
        let count = self.lowers.len() + self.data.len();
        if count == 0 && self.findings.is_empty() {
            refuse(OptionError::NoLower);
        }
        if self.lowers.is_empty() && count > 0 {
            self.findings.push(Finding::kernel(
                &rows::ONLY_DATADIRS,
                "all layers hold data alone, and none has names to be seen".into(),
                "begin with a directory whose names are to be seen, as in `-o lowerdir+=DIR,datadir+=DATA`",
            ));
        }
        if count > LAYERS_MAX {
            refuse(OptionError::TooManyLowers { count });
        }
        match (&self.upper, &self.work) {
            (Some(upper), None) => refuse(OptionError::UpperWithoutWork {
                upper: upper.clone(),
            }),
            (None, Some(work)) => refuse(OptionError::WorkWithoutUpper { work: work.clone() }),
            _ => {}
        }
        for (one, other) in CONFLICTS {
            let asked = |pair: &str| match pair.split_once('=') {
                Some((name, value)) => self.has(name, value),
                None => self.userxattr,
            };
            if asked(one) && asked(other) {
                refuse(OptionError::Conflict { one, other });
            }
        }
        let (one, other) = FOLLOWED;
        if self.upper.is_some() && self.has("metacopy", "on") && self.has("redirect_dir", "follow")
        {
            refuse(OptionError::Conflict { one, other });
        }
        if self.upper.is_none() && self.lowers.len() == 1 && self.data.is_empty() {
            let lower = self.lowers.first().map(PathBuf::as_path);
            found.push(single_lower(lower.unwrap_or(Path::new("DIR"))));
        }
        if let Some(verity) = self.value("verity")
            && verity != "off"
            && !self.is_on("metacopy", machine)
            && machine.older_than(6, 16)
        {
            found.push(Finding::kernel(
                &rows::VERITY_CONFLICT,
                format!(
                    "Linux {} keeps digests with `metacopy=on` alone",
                    machine.release
                ),
                "add `-o metacopy=on`, or boot Linux 6.16 or newer",
            ));
        }
        self.findings.append(&mut found);
    }
}

/// Choices that the kernel refuses together.
const CONFLICTS: [(&str, &str); 7] = [
    ("userxattr", "redirect_dir=on"),
    ("userxattr", "redirect_dir=follow"),
    ("userxattr", "metacopy=on"),
    ("metacopy=on", "redirect_dir=off"),
    ("metacopy=on", "redirect_dir=nofollow"),
    ("nfs_export=on", "index=off"),
    ("nfs_export=on", "metacopy=on"),
];

/// The same where there is an upper: a metacopy that is renamed takes a redirect.
const FOLLOWED: (&str, &str) = ("metacopy=on", "redirect_dir=follow");

/// Says that the kernel's overlayfs does not have an option: Mica may have it.
fn unknown(name: &str) -> Finding {
    let words = format!(
        "the kernel's overlayfs has no mount option {}",
        Escaped::new(name)
    );
    let hint = match OptionError::unknown(name.as_bytes()).hint() {
        Some(hint) if hint.starts_with("did you mean") => hint,
        _ => "leave it out, or mount with `mica mount`, whose `--help` lists its options".into(),
    };
    Finding::kernel(&rows::UNKNOWN_OPTION, words, hint)
}

fn single_lower(lower: &Path) -> Finding {
    let dir = Escaped::new(lower);
    Finding::kernel(
        &rows::SINGLE_LOWER,
        "the kernel's overlayfs wants two lower layers where there is no upper".into(),
        format!("show it without an overlay: `mount --bind -o ro {dir:#} MOUNTPOINT`"),
    )
}

/// Tells which case an error of the options is.
pub(super) fn row_of(error: &OptionError) -> &'static rows::Row {
    match error {
        OptionError::Unknown { .. } => &rows::UNKNOWN_OPTION,
        OptionError::NoLower => &rows::NO_LOWER,
        OptionError::LeadingColon | OptionError::TrailingColon | OptionError::EmptyLower => {
            &rows::COLONS
        }
        OptionError::TooManyLowers { .. } => &rows::TOO_MANY_LOWERS,
        OptionError::UpperWithoutWork { .. } => &rows::NO_WORK,
        OptionError::WorkWithoutUpper { .. } => &rows::NO_UPPER,
        OptionError::Conflict { one, .. } => match *one {
            "userxattr" => &rows::USERXATTR_CONFLICT,
            "nfs_export=on" => &rows::NFS_EXPORT_CONFLICT,
            _ => &rows::METACOPY_CONFLICT,
        },
        OptionError::Refused { .. } => &rows::OPTION_REFUSED,
        _ => &rows::BAD_VALUE,
    }
}
