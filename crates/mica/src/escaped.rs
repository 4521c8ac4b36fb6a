//! Text of other people, made safe to show.
//!
//! Paths and options may hold any byte. What is shown of them on a terminal or in a log must neither move the
//! cursor nor fake a line of its own, and must still be readable where it is plain UTF-8.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;

/// Shows a path or an option in backticks, with control characters and invalid UTF-8 escaped; `{:#}` shows it
/// without backticks as a word of a shell command.
///
/// ```
/// use mica::Escaped;
/// assert_eq!(format!("{}", Escaped::new("/a b")), "`/a b`");
/// assert_eq!(format!("{:#}", Escaped::new("/a b")), "'/a b'");
/// assert_eq!(format!("{}", Escaped::new("a\n\u{1b}[1m")), r"`a\n\u{1b}[1m`");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a>(&'a [u8]);

impl<'a> Escaped<'a> {
    /// Wraps a path, an option or any other piece of input.
    #[must_use]
    pub fn new<S: AsRef<OsStr> + ?Sized>(text: &'a S) -> Self {
        Self(text.as_ref().as_bytes())
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return write_between(f, "`", self.0);
        }
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"/._-+:,@%=".contains(b);
        if !self.0.is_empty() && self.0.iter().all(plain) {
            write_between(f, "", self.0)
        } else {
            write_between(f, "'", self.0)
        }
    }
}

/// Writes `text` escaped, between two `quote`s; a single quote in it as a shell takes it.
fn write_between(f: &mut fmt::Formatter<'_>, quote: &str, text: &[u8]) -> fmt::Result {
    f.write_str(quote)?;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c == '\'' && quote == "'" {
                f.write_str(r"'\''")?;
            } else if c.is_control() || reorders_text(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_str(quote)
}

/// Tells whether `c` changes the direction of the text after it, which can show a path backwards.
const fn reorders_text(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_text_is_shown_as_it_is() {
        assert_eq!(
            Escaped::new("/srv/é ü/a,b:c\\").to_string(),
            "`/srv/é ü/a,b:c\\`"
        );
    }

    #[test]
    fn what_could_fool_a_terminal_is_escaped() {
        let shown = Escaped::new(OsStr::from_bytes(b"a\x1b[2J\r\xff\xe2\x80\xae")).to_string();
        assert_eq!(shown, "`a\\u{1b}[2J\\r\\xff\\u{202e}`");
    }

    #[test]
    fn a_word_of_a_command_is_quoted_where_a_shell_needs_it() {
        for (text, word) in [
            ("/srv/a.b-c_d+1", "/srv/a.b-c_d+1"),
            ("it's", r"'it'\''s'"),
            ("$x", "'$x'"),
            ("", "''"),
        ] {
            assert_eq!(format!("{:#}", Escaped::new(text)), word);
        }
    }
}
