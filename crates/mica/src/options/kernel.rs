//! The options of the kernel's overlayfs for features that this version does not have, with the values that ask for
//! what it does in any case.

use std::ffi::OsString;

use super::layers::Layers;
use super::{Answer, Effect, Entry, OptionError, RawOption};

pub(super) const OPTIONS: &[Entry] = &[
    Entry(
        "redirect_dir",
        Effect::Choose(&[
            ("on", NO_REDIRECTS),
            ("follow", NO_REDIRECTS),
            ("nofollow", REDIRECTS_REFUSED),
            ("off", REDIRECTS_REFUSED),
        ]),
    ),
    Entry(
        "index",
        Effect::Choose(&[
            (
                "on",
                Answer::Refused(
                    "there is no index, so names of a changed lower file are one file only until the mount ends",
                    "leave it out",
                ),
            ),
            (
                "off",
                Answer::Moot("there is no index; what the kernel left in workdir is kept"),
            ),
        ]),
    ),
    Entry(
        "nfs_export",
        Effect::Choose(&[
            (
                "on",
                Answer::Refused(
                    "file handles of a FUSE mount end with its server",
                    "export the layers, or mount with the kernel: `mount -t overlay`",
                ),
            ),
            ("off", Answer::Moot("file handles are refused in any case")),
        ]),
    ),
    Entry(
        "xino",
        Effect::Choose(&[
            ("on", UNIQUE_NUMBERS),
            ("auto", UNIQUE_NUMBERS),
            ("off", UNIQUE_NUMBERS),
        ]),
    ),
    Entry(
        "metacopy",
        Effect::Choose(&[
            (
                "on",
                Answer::Refused(
                    "a change of owner or mode copies the data up, too",
                    "leave it out",
                ),
            ),
            (
                "off",
                Answer::Moot("files are copied up whole; one that was not is refused"),
            ),
        ]),
    ),
    Entry(
        "verity",
        Effect::Choose(&[
            ("on", NO_DIGESTS),
            ("require", NO_DIGESTS),
            (
                "off",
                Answer::Moot("no digests of data in lower layers are kept"),
            ),
        ]),
    ),
    Entry(
        "uuid",
        Effect::Choose(&[
            ("null", NO_UUID),
            ("auto", NO_UUID),
            (
                "on",
                Answer::Refused(
                    "the overlay keeps no UUID of its own, and FUSE shows none by statfs(2)",
                    "leave it out, or write `-o uuid=null`",
                ),
            ),
            (
                "off",
                Answer::Refused(
                    "the UUID of a lower filesystem is part of each `origin` mark",
                    "leave it out, or write `-o uuid=null`",
                ),
            ),
        ]),
    ),
    Entry("override_creds", MOUNTERS_CREDENTIALS),
    Entry("nooverride_creds", MOUNTERS_CREDENTIALS),
    Entry(
        "datadir+",
        Effect::refused(
            "data-only lower layers are not supported by this version",
            "name it as a layer by `-o lowerdir+=`, whose names are seen",
        ),
    ),
];

const NO_REDIRECTS: Answer = Answer::Refused(
    "redirects are neither written nor followed",
    "leave it out; mv(1) copies a directory where rename(2) answers EXDEV",
);

const REDIRECTS_REFUSED: Answer =
    Answer::Moot("no redirect is written, and a directory that has one is refused");

const UNIQUE_NUMBERS: Answer = Answer::Moot("inode numbers are unique over all layers in any case");

const NO_DIGESTS: Answer = Answer::Refused(
    "digests of fs-verity are kept with metacopy files, which there are none of",
    "leave it out",
);

const NO_UUID: Answer = Answer::Moot("the overlay has no UUID of its own");

const MOUNTERS_CREDENTIALS: Effect =
    Effect::Moot("the layers are reached with the credentials of the server in any case");

/// Choices that the kernel does not let be together, whichever of them this version has (`ovl_fs_params_verify`).
const CONFLICTS: [(&str, &str); 7] = [
    ("userxattr", "redirect_dir=on"),
    ("userxattr", "redirect_dir=follow"),
    ("userxattr", "metacopy=on"),
    ("metacopy=on", "redirect_dir=off"),
    ("metacopy=on", "redirect_dir=nofollow"),
    ("nfs_export=on", "index=off"),
    ("nfs_export=on", "metacopy=on"),
];

/// The values chosen so far, one for each option.
#[derive(Debug, Default)]
pub(super) struct Chosen(Vec<(&'static str, &'static str, Answer)>);

impl Chosen {
    /// Chooses a value; of two for one option the last counts.
    pub(super) fn choose(
        &mut self,
        name: &'static str,
        values: &'static [(&'static str, Answer)],
        option: RawOption<'_>,
    ) -> Result<(), OptionError> {
        let written = option.required_value()?;
        let value = values.iter().find(|(value, _)| value.as_bytes() == written);
        let Some(&(value, answer)) = value else {
            let moot = |answer: Answer| matches!(answer, Answer::Moot(_));
            let example = values.iter().find(|(_, answer)| moot(*answer));
            let example = example.map_or("", |(value, _)| value);
            return Err(option.bad_value(listed(values), example));
        };
        self.0.retain(|(chosen, ..)| *chosen != name);
        self.0.push((name, value, answer));
        Ok(())
    }

    /// Refuses values that contradict each other.
    pub(super) fn check(&self, layers: &Layers) -> Result<(), OptionError> {
        let asked = |wanted: &str| match wanted.split_once('=') {
            None => layers.userxattr,
            Some(pair) => self
                .0
                .iter()
                .any(|(name, value, _)| pair == (*name, *value)),
        };
        match CONFLICTS
            .iter()
            .find(|(one, other)| asked(one) && asked(other))
        {
            Some(&(one, other)) => Err(OptionError::Conflict { one, other }),
            None => Ok(()),
        }
    }

    /// Yields what was chosen, as it was written, and its answer.
    pub(super) fn answers(self) -> impl Iterator<Item = (OsString, Answer)> {
        let chosen = self.0.into_iter();
        chosen.map(|(name, value, answer)| (format!("{name}={value}").into(), answer))
    }
}

/// Lists values as people do: "`on`, `auto` or `off`".
fn listed(values: &[(&str, Answer)]) -> String {
    let mut list = String::new();
    for (n, (value, _)) in values.iter().enumerate() {
        let gap = match values.len() - n {
            _ if n == 0 => "",
            1 => " or ",
            _ => ", ",
        };
        list.push_str(&format!("{gap}`{value}`"));
    }
    list
}
