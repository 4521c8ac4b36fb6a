//! The options of the kernel's overlayfs that choose what it does; for features that this version does not have, with the
//! values that ask for what it does in any case.

use std::ffi::OsString;

use mica_overlay::{Redirects, XattrNamespace};
use mica_vfs::Coherence;

use super::layers::Layers;
use super::{Answer, Effect, Entry, Manner, OptionError, RawOption};

pub(super) const OPTIONS: &[Entry] = &[
    Entry(
        "redirect_dir",
        Effect::Choose(&[
            ("on", Answer::Taken),
            ("follow", Answer::Taken),
            ("nofollow", Answer::Taken),
            ("off", Answer::Taken),
        ]),
    ),
    Entry(
        "index",
        Effect::Choose(&[("on", Answer::Taken), ("off", Answer::Taken)]),
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
            ("on", Answer::Taken),
            ("auto", UNIQUE_NUMBERS),
            ("off", UNIQUE_NUMBERS),
        ]),
    ),
    Entry(
        "metacopy",
        Effect::Choose(&[("on", Answer::Taken), ("off", Answer::Taken)]),
    ),
    Entry(
        "verity",
        Effect::Choose(&[
            ("on", NO_DIGESTS),
            ("require", NO_DIGESTS),
            ("off", Answer::Moot("no digests are made or compared")),
        ]),
    ),
    Entry(
        "uuid",
        Effect::Choose(&[
            ("auto", Answer::Taken),
            ("on", Answer::Taken),
            ("null", Answer::Taken),
            ("off", Answer::Taken),
        ]),
    ),
    Entry("override_creds", MOUNTERS_CREDENTIALS),
    Entry("nooverride_creds", MOUNTERS_CREDENTIALS),
];

const UNIQUE_NUMBERS: Answer = Answer::Moot("inode numbers are unique over all layers in any case");

const NO_DIGESTS: Answer = Answer::Refused(
    "the digest of a metacopy is not compared with the data",
    "leave it out, or mount with the kernel: `mount -t overlay`",
);

const MOUNTERS_CREDENTIALS: Effect =
    Effect::Moot("the layers are reached with the credentials of the server in any case");

/// Choices that the kernel does not let be together, whichever of them this version has (`ovl_fs_params_verify`).
/// `userxattr` with `redirect_dir=on` or `follow` is none of them: it is the kernel that cannot trust `user.overlay.*`.
/// With `shared` it is Mica: what these two write on disk says that a lower object stays what it is.
const CONFLICTS: [(&str, &str); 9] = [
    ("userxattr", "metacopy=on"),
    ("metacopy=on", "redirect_dir=off"),
    ("metacopy=on", "redirect_dir=follow"),
    ("metacopy=on", "redirect_dir=nofollow"),
    ("nfs_export=on", "index=off"),
    ("nfs_export=on", "metacopy=on"),
    ("shared", "metacopy=on"),
    ("shared", "index=on"),
    ("shared", "datadir+"),
];

/// Whether directories have other names in the layers below: what `redirect_dir=` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedirectDir {
    /// `on`: directories of lowers can be renamed. The default with `trusted.overlay.*`.
    #[default]
    On,
    /// `follow`: redirects that are there are followed.
    Follow,
    /// `nofollow`: they are refused.
    NoFollow,
    /// `off`: none is written. Those that are there are followed as the kernel does: in `trusted.overlay.*`, where nobody but
    /// root can have put them. The default with `userxattr` and for fuse-overlayfs.
    Off,
}

impl RedirectDir {
    /// Says what it means for marks that are kept in `xattrs`.
    #[must_use]
    pub const fn in_xattrs(self, xattrs: XattrNamespace) -> Redirects {
        match (self, xattrs) {
            (Self::On, _) => Redirects::On,
            (Self::Follow, _) | (Self::Off, XattrNamespace::Trusted) => Redirects::Follow,
            (Self::NoFollow, _) | (Self::Off, XattrNamespace::User) => Redirects::NoFollow,
        }
    }
}

/// Returns what `redirect_dir=` asks for, or the default: a directory that is renamed with a redirect is not found by the
/// kernel where the marks are `user.overlay.*`, nor by fuse-overlayfs anywhere.
pub(super) fn redirects(chosen: &Chosen, manner: Manner, layers: &Layers) -> RedirectDir {
    match chosen.value("redirect_dir") {
        Some("on") => RedirectDir::On,
        Some("follow") => RedirectDir::Follow,
        Some("nofollow") => RedirectDir::NoFollow,
        Some(_) => RedirectDir::Off,
        None if layers.userxattr || manner == Manner::FuseOverlayfs => RedirectDir::Off,
        None => RedirectDir::On,
    }
}

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
            let works = |answer: Answer| !matches!(answer, Answer::Refused(..));
            let example = values.iter().find(|(_, answer)| works(*answer));
            let example = example.map_or("", |(value, _)| value);
            return Err(option.bad_value(listed(values), example));
        };
        self.0.retain(|(chosen, ..)| *chosen != name);
        self.0.push((name, value, answer));
        Ok(())
    }

    /// Returns the value of an option, if one was given.
    pub(super) fn value(&self, name: &str) -> Option<&'static str> {
        let chosen = self.0.iter().find(|(chosen, ..)| *chosen == name);
        chosen.map(|(_, value, _)| *value)
    }

    /// Refuses values that contradict each other.
    pub(super) fn check(&self, layers: &Layers) -> Result<(), OptionError> {
        let asked = |wanted: &str| match wanted.split_once('=') {
            None if wanted == "userxattr" => layers.userxattr,
            None if wanted == "datadir+" => layers.has_data(),
            None if wanted == "shared" => layers.coherence == Coherence::Shared,
            None => false,
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
