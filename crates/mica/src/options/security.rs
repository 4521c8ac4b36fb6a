//! Labels for the kernel's LSM: `context=`, `fscontext=`, `defcontext=`, `rootcontext=`.

use super::{Effect, Entry, Given, OptionError, RawOption, SecurityLabel};

/// The options, whose values may stand in quotes.
pub(super) const NAMES: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

pub(super) const OPTIONS: &[Entry] = &[
    Entry("context", Effect::Call(label)),
    Entry("fscontext", Effect::Call(label)),
    Entry("defcontext", Effect::Call(label)),
    Entry("rootcontext", Effect::Call(label)),
];

/// Keeps a label for the kernel, without its quotes; a later one replaces an earlier one.
fn label(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let written = option.required_value()?;
    let bare = match written {
        [b'"', inner @ .., b'"'] if !inner.is_empty() && !inner.contains(&b'"') => inner,
        _ if written.contains(&b'"') => {
            let expected = "a label, alone or between two quotes";
            return Err(option.bad_value(expected, "\"system_u:object_r:tmp_t:s0:c0,c1\""));
        }
        _ => written,
    };
    let value = RawOption {
        value: Some(bare),
        ..option
    };
    let value = value.utf8_value()?;
    let known = NAMES.iter().find(|name| name.as_bytes() == option.name);
    if let Some(&option) = known {
        given.labels.retain(|label| label.option != option);
        given.labels.push(SecurityLabel { option, value });
    }
    Ok(())
}
