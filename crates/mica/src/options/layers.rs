//! Layers, and where their marks are kept: `lowerdir=`, `lowerdir+=`, `upperdir=`, `workdir=`, `userxattr`.

use std::path::PathBuf;

use super::split::{split_lower, unescape, unescape_comma};
use mica_overlay::Durability;

use super::{
    Effect, Entry, Given, LAYERS_MAX, OptionError, RawOption, StackSpec, UpperSpec, XattrNamespace,
    path,
};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("lowerdir", Effect::Call(lower_joined)),
    Entry("lowerdir+", Effect::Call(lower_appended)),
    Entry("upperdir", Effect::Call(upper)),
    Entry("workdir", Effect::Call(work)),
    Entry("userxattr", Effect::Call(userxattr)),
];

/// The layers so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    lower: Lower,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    pub(super) userxattr: bool,
}

/// The lower layers so far, and which of the two spellings they came in.
#[derive(Debug, Default)]
enum Lower {
    #[default]
    None,
    /// `lowerdir=a:b`
    Joined(Vec<PathBuf>),
    /// `lowerdir+=a`, one layer each
    Appended(Vec<PathBuf>),
}

/// `lowerdir=`: all layers at once; a later one replaces an earlier one.
fn lower_joined(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let value = option.required_value()?;
    if matches!(given.layers.lower, Lower::Appended(_)) {
        return Err(OptionError::MixedLower);
    }
    let paths = split_lower(value)?;
    given.layers.lower = Lower::Joined(paths.into_iter().map(path).collect());
    Ok(())
}

/// `lowerdir+=`: one layer below those before it. A colon in it is part of the path.
fn lower_appended(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let layer = path(unescape_comma(option.required_value()?));
    match &mut given.layers.lower {
        Lower::Joined(_) => return Err(OptionError::MixedLower),
        Lower::Appended(paths) => paths.push(layer),
        Lower::None => given.layers.lower = Lower::Appended(vec![layer]),
    }
    Ok(())
}

fn upper(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.layers.upper = Some(path(unescape(option.required_value()?)));
    Ok(())
}

fn work(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    given.layers.work = Some(path(unescape(option.required_value()?)));
    Ok(())
}

fn userxattr(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    option.no_value()?;
    given.layers.userxattr = true;
    Ok(())
}

impl Layers {
    /// Checks that the layers make a stack.
    pub(super) fn finish(self) -> Result<StackSpec, OptionError> {
        let lower = match self.lower {
            Lower::None => return Err(OptionError::NoLower),
            Lower::Joined(paths) | Lower::Appended(paths) => paths,
        };
        if lower.len() > LAYERS_MAX {
            return Err(OptionError::TooManyLowers { count: lower.len() });
        }
        let upper = match (self.upper, self.work) {
            (Some(dir), Some(work)) => Some(UpperSpec { dir, work }),
            (Some(upper), None) => return Err(OptionError::UpperWithoutWork { upper }),
            (None, Some(work)) => return Err(OptionError::WorkWithoutUpper { work }),
            (None, None) => None,
        };
        let xattrs = if self.userxattr {
            XattrNamespace::User
        } else {
            XattrNamespace::Trusted
        };
        Ok(StackSpec {
            lower,
            upper,
            xattrs,
            redirects: super::RedirectDir::default(),
            durability: Durability::default(),
            identity: super::Identity::default(),
        })
    }
}
