//! `volatile` and `fsync=`: when changes are put on disk.

use mica_overlay::Durability;

use super::{Effect, Entry, Given, OptionError, RawOption, text};

pub(super) const OPTIONS: &[Entry] = &[
    Entry("volatile", Effect::Call(volatile)),
    Entry("fsync", Effect::Call(fsync)),
];

/// The values of `fsync=`: those of the kernel's overlayfs, then those of fuse-overlayfs.
///
/// To fuse-overlayfs `fsync=0` means that programs which sync are answered and nothing is done. That is a volatile mount,
/// and gets the mark of one: after a crash nobody can tell what of it is on disk.
const VALUES: [(&str, Durability); 5] = [
    ("auto", Durability::Auto),
    ("strict", Durability::Strict),
    ("volatile", Durability::Volatile),
    ("1", Durability::Auto),
    ("0", Durability::Volatile),
];

fn volatile(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    option.no_value()?;
    given.durability = Durability::Volatile;
    Ok(())
}

fn fsync(given: &mut Given, option: RawOption<'_>) -> Result<(), OptionError> {
    let value = option.required_value()?;
    let known = VALUES.iter().find(|(name, _)| name.as_bytes() == value);
    let (_, durability) = known.ok_or_else(|| OptionError::Fsync {
        value: text(value.to_vec()),
    })?;
    given.durability = *durability;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MountSpec;

    fn durability(options: &str) -> Result<Durability, OptionError> {
        let spec = MountSpec::parse([&format!("lowerdir=l,{options}")])?;
        Ok(spec.stack.durability)
    }

    #[test]
    fn each_way_to_say_it_chooses_a_durability_and_the_last_one_counts() {
        use Durability::{Auto, Strict, Volatile};
        for (options, expected) in [
            ("ro", Auto),
            ("fsync=auto", Auto),
            ("fsync=strict", Strict),
            ("fsync=volatile", Volatile),
            ("volatile", Volatile),
            ("fsync=1", Auto),
            ("fsync=0", Volatile),
            ("volatile,fsync=strict", Strict),
            ("fsync=auto,volatile", Volatile),
        ] {
            assert_eq!(durability(options), Ok(expected), "{options}");
        }
    }

    #[test]
    fn another_value_is_refused_with_those_that_there_are() {
        for value in ["ordered", "2", "off", "Auto"] {
            let error = durability(&format!("fsync={value}")).unwrap_err();
            let message = format!("mount option `fsync` has no value `{value}`");
            assert_eq!(error.to_string(), message);
            let hint = "write `fsync=auto`, `fsync=strict` or `fsync=volatile`";
            assert_eq!(error.hint().as_deref(), Some(hint));
        }
        let error = durability("volatile=1").unwrap_err();
        let message = "mount option `volatile` takes no value, but `1` was given";
        assert_eq!(error.to_string(), message);
        let error = durability("fsync").unwrap_err();
        assert_eq!(error.to_string(), "mount option `fsync` needs a value");
    }
}
