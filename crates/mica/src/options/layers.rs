//! Layers, where their marks are kept, and who changes them: `lowerdir=`, `lowerdir+=`, `datadir+=`, `upperdir=`, `workdir=`,
//! `userxattr`, `shared`.

use std::path::PathBuf;

use mica_overlay::{LAYERS_MAX, XattrNamespace};
use mica_vfs::Coherence;

use super::split::{split_lower, unescape, unescape_comma};
use super::{Effect, Entry, Given, OptionError, RawOption, StackSpec, UpperSpec, path};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("lowerdir", Effect::Call(lower_joined)),
    Entry("lowerdir+", Effect::Call(lower_appended)),
    Entry("datadir+", Effect::Call(data_appended)),
    Entry("upperdir", Effect::Call(upper)),
    Entry("workdir", Effect::Call(work)),
    Entry("userxattr", Effect::Call(userxattr)),
    Entry("shared", Effect::Call(shared)),
    Entry("shared_layers", Effect::Call(shared)),
];

/// The layers so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    lower: Lower,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    pub(super) userxattr: bool,
    pub(super) coherence: Coherence,
}

/// The lower layers so far, and which of the two spellings they came in.
#[derive(Debug, Default)]
enum Lower {
    #[default]
    None,
    /// `lowerdir=a:b::c`
    Joined(Lowers),
    /// `lowerdir+=a`, `datadir+=c`, one layer each
    Appended(Lowers),
}

#[derive(Debug, Default)]
struct Lowers {
    shown: Vec<PathBuf>,
    data: Vec<PathBuf>,
}

/// `lowerdir=`: all layers at once; a later one replaces an earlier one.
fn lower_joined(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let value = option.required_value()?;
    if matches!(given.layers.lower, Lower::Appended(_)) {
        return Err(OptionError::MixedLower);
    }
    let paths = split_lower(value)?;
    given.layers.lower = Lower::Joined(Lowers {
        shown: paths.shown.into_iter().map(path).collect(),
        data: paths.data.into_iter().map(path).collect(),
    });
    Ok(())
}

/// `lowerdir+=`: one layer below those before it. A colon in it is part of the path.
fn lower_appended(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let layer = path(unescape_comma(option.required_value()?));
    let lowers = given.layers.appended()?;
    if !lowers.data.is_empty() {
        return Err(OptionError::LowerAfterData);
    }
    lowers.shown.push(layer);
    Ok(())
}

/// `datadir+=`: one data-only layer, asked after those before it.
fn data_appended(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let layer = path(unescape_comma(option.required_value()?));
    given.layers.appended()?.data.push(layer);
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

/// `shared`, and for mount(8), which takes that for itself, `shared_layers`.
fn shared(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    option.no_value()?;
    given.layers.coherence = Coherence::Shared;
    Ok(())
}

impl Layers {
    /// Whether there are data-only layers.
    pub(super) fn has_data(&self) -> bool {
        match &self.lower {
            Lower::None => false,
            Lower::Joined(lowers) | Lower::Appended(lowers) => !lowers.data.is_empty(),
        }
    }

    /// Returns the layers that are named one by one.
    fn appended(&mut self) -> Result<&mut Lowers, OptionError> {
        if matches!(self.lower, Lower::None) {
            self.lower = Lower::Appended(Lowers::default());
        }
        match &mut self.lower {
            Lower::Appended(lowers) => Ok(lowers),
            Lower::Joined(_) | Lower::None => Err(OptionError::MixedLower),
        }
    }

    /// Checks that the layers make a stack.
    pub(super) fn finish(self) -> Result<StackSpec, OptionError> {
        let Lowers { shown, data } = match self.lower {
            Lower::None => return Err(OptionError::NoLower),
            Lower::Joined(lowers) | Lower::Appended(lowers) => lowers,
        };
        if shown.is_empty() {
            return Err(OptionError::NoLower);
        }
        let count = shown.len() + data.len();
        if count > LAYERS_MAX {
            return Err(OptionError::TooManyLowers { count });
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
            data,
            upper,
            xattrs,
            coherence: self.coherence,
            ..StackSpec::new(shown)
        })
    }
}
