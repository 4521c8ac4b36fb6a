//! docs/options.md and the code say the same of each option.

use super::*;
use crate::options::table::entries;

/// The page. A row: options in backticks, what they do, tests.
const PAGE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/options.md"
));

/// Yields the options of each row and what the row says of them.
fn rows() -> impl Iterator<Item = (Vec<&'static str>, &'static str)> {
    PAGE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let options = cells.next()?.trim_end_matches('`').split("`, `");
        Some((options.collect(), cells.next()?))
    })
}

/// Writes an option of the page as a user would.
fn spelled(option: &str) -> String {
    let option = option.replace('*', "word");
    if option.ends_with('=') {
        option + "0"
    } else {
        option
    }
}

#[test]
fn every_option_is_documented() {
    let of_page: Vec<&str> = rows().flat_map(|(options, _)| options).collect();
    for Entry(name, _) in entries() {
        let described = of_page.iter().any(|option| {
            let bare = option.split('=').next();
            bare == Some(name)
        });
        assert!(described, "{name} is not in docs/options.md");
    }
    for Entry(name, effect) in entries() {
        if let Effect::Choose(values) = effect {
            for (value, _) in *values {
                let option = format!("{name}={value}");
                assert!(
                    of_page.contains(&option.as_str()),
                    "{option} is not in docs/options.md"
                );
            }
        }
    }
}

#[test]
fn options_that_change_nothing_leave_a_note() {
    let mut seen = 0;
    for (options, said) in rows() {
        for option in options {
            let spec = parse(&["lowerdir=l", &spelled(option)]);
            let notes = spec.map(|spec| spec.notes).unwrap_or_default();
            match (said.strip_prefix("noted: "), notes.as_slice()) {
                (Some(reason), [note]) => {
                    assert_eq!(note.to_string(), format!("`{option}`: {reason}"));
                    seen += 1;
                }
                (None, []) => {}
                (_, found) => panic!("{option}: {said}, but {found:?}"),
            }
        }
    }
    assert!(seen > 40, "{seen} rows");
}

#[test]
fn options_that_cannot_be_had_are_refused_with_the_reason() {
    let mut seen = 0;
    for (options, said) in rows() {
        let said = said
            .strip_prefix("refused: ")
            .and_then(|said| said.split_once(". Hint: "));
        for option in options {
            let written = spelled(option);
            let error = parse(&["lowerdir=l", &written]).err();
            match (said, error) {
                (Some((reason, hint)), Some(error @ OptionError::Refused { .. })) => {
                    let message = format!("mount option `{written}` cannot be had: {reason}");
                    assert_eq!(error.to_string(), message);
                    assert_eq!(error.hint().as_deref(), Some(hint));
                    seen += 1;
                }
                (None, Some(error @ OptionError::Refused { .. })) => panic!("{option}: {error}"),
                (Some(_), other) => panic!("{option}: {said:?}, but {other:?}"),
                (None, _) => {}
            }
        }
    }
    assert!(seen > 40, "{seen} rows");
}

#[test]
fn options_for_mount_alone_are_taken_silently() {
    let plain = parse(&["lowerdir=l"]).unwrap();
    let mut seen = 0;
    for (options, said) in rows() {
        for option in options {
            let option = spelled(option);
            let silent = matches!(entry(option.as_bytes()), Some(Entry(_, Effect::Silent)));
            assert_eq!(said == "silent", silent, "{option}");
            if silent {
                assert_eq!(
                    parse(&["lowerdir=l", &option]).as_ref(),
                    Ok(&plain),
                    "{option}"
                );
                let with_value = format!("{option}=a b");
                assert_eq!(parse(&["lowerdir=l", &with_value]).as_ref(), Ok(&plain));
                seen += 1;
            }
        }
    }
    assert!(seen > 10, "{seen} rows");
}
