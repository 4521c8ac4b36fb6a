//! Writing a tree as a literal, so that a failed test can be run again.

use std::fmt;

use mica_vfs::FileType;

use super::{Body, FLAGS, Item, Tree};

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, item) in self.0.iter().enumerate() {
            let space = if number == 0 { "" } else { " " };
            write!(f, "{space}{item}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.body {
            Body::Directory => f.write_str("/")?,
            Body::Opaque => f.write_str(":opaque")?,
            Body::Whiteouts => f.write_str(":whiteouts")?,
            Body::XattrWhiteout => f.write_str(":xwhiteout")?,
            Body::File(data) => write!(f, "={}", quoted(data))?,
            Body::Hole(size) => write!(f, "=hole({size})")?,
            Body::Symlink(target) => write!(f, "->{}", quoted(target.as_bytes()))?,
            Body::Link(old) => write!(f, "=>{old}")?,
            body if *body == Body::WHITEOUT => f.write_str(":whiteout")?,
            Body::Special(FileType::Fifo, _) => f.write_str(":fifo")?,
            Body::Special(FileType::Socket, _) => f.write_str(":socket")?,
            Body::Special(kind, rdev) => {
                let kind = match kind {
                    FileType::BlockDevice => "block",
                    _ => "char",
                };
                write!(f, ":{kind}({},{})", rdev.major, rdev.minor)?;
            }
        }
        if let Some(mode) = self.mode {
            write!(f, "@{mode:04o}")?;
        }
        if let Some((uid, gid)) = self.owner {
            write!(f, "~{uid}:{gid}")?;
        }
        if let Some(time) = self.time {
            write!(f, "!{time}")?;
        }
        for (number, (name, value)) in self.xattrs.iter().enumerate() {
            let before = if number == 0 { "[" } else { "," };
            write!(f, "{before}{name}={}", quoted(value))?;
        }
        f.write_str(if self.xattrs.is_empty() { "" } else { "]" })?;
        let flags = FLAGS.iter().filter(|(_, flag)| self.flags.contains(*flag));
        for (number, (letter, _)) in flags.enumerate() {
            let before = if number == 0 { "^" } else { "" };
            write!(f, "{before}{letter}")?;
        }
        Ok(())
    }
}

/// Quotes text with the escapes that a literal has.
fn quoted(text: &[u8]) -> String {
    let mut quoted = String::from("'");
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\0' => quoted.push_str("\\0"),
            '\'' | '\\' => quoted.extend(['\\', c]),
            _ => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}
