//! Reading a literal.

use std::collections::BTreeSet;

use mica_vfs::{FileType, Rdev};

use super::{Body, FLAGS, Item, Tree};

/// Reads a literal; directories on the way are added.
pub(super) fn parse(literal: &str) -> Result<Tree, String> {
    let mut tree = Tree::default();
    let mut paths = BTreeSet::new();
    for word in words(literal)? {
        let item = Word { rest: word }
            .item()
            .map_err(|why| format!("`{word}`: {why}"))?;
        for (at, _) in item.path.match_indices('/') {
            let dir = &item.path[..at];
            if paths.insert(dir.to_owned()) {
                tree.0.push(Item::new(dir, Body::Directory));
            }
        }
        if !paths.insert(item.path.clone()) {
            return Err(format!("`{word}`: the path is there already"));
        }
        tree.0.push(item);
    }
    Ok(tree)
}

/// Parts a literal at its white space, but for what is in quotes.
fn words(literal: &str) -> Result<Vec<&str>, String> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in literal.char_indices() {
        if !quoted && c.is_whitespace() {
            if let Some(start) = start.take() {
                words.push(&literal[start..at]);
            }
            continue;
        }
        start = start.or(Some(at));
        if c == '\'' && !escaped {
            quoted = !quoted;
        }
        escaped = quoted && c == '\\' && !escaped;
    }
    if quoted {
        return Err(format!("`{literal}`: a quote is not closed"));
    }
    words.extend(start.map(|start| &literal[start..]));
    Ok(words)
}

/// What is left of a word.
struct Word<'a> {
    rest: &'a str,
}

impl<'a> Word<'a> {
    fn item(mut self) -> Result<Item, String> {
        let path = self.until(&["=", "->", ":", "@", "~", "!", "[", "^"]);
        let (path, slash) = path.strip_suffix('/').map_or((path, false), |p| (p, true));
        if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
            return Err("a path is names parted by single slashes".into());
        }
        let body = match self.body()? {
            None if slash => Body::Directory,
            None => return Err("say what it is: `/`, `='data'`, `->target`, `:type`".into()),
            Some(_) if slash => return Err("a directory is nothing else".into()),
            Some(body) => body,
        };
        let mut item = Item::new(path, body);
        while !self.rest.is_empty() {
            self.attribute(&mut item)?;
        }
        Ok(item)
    }

    fn body(&mut self) -> Result<Option<Body>, String> {
        if self.take("=>") {
            return Ok(Some(Body::Link(self.value())));
        }
        if self.take("->") {
            return Ok(Some(Body::Symlink(self.text()?)));
        }
        if self.take("=") {
            if self.take("hole(") {
                let size = self.until(&[")"]);
                let body = Body::Hole(parse_size(size)?);
                return self.expect(")").map(|()| Some(body));
            }
            if !self.rest.starts_with('\'') {
                return Err("data is quoted".into());
            }
            return Ok(Some(Body::File(self.text()?.into_bytes())));
        }
        if self.take(":") {
            return self.kind().map(Some);
        }
        Ok(None)
    }

    fn kind(&mut self) -> Result<Body, String> {
        let kind = self.until(&["(", "@", "~", "!", "[", "^"]);
        Ok(match kind {
            "fifo" => Body::Special(FileType::Fifo, Rdev::default()),
            "socket" => Body::Special(FileType::Socket, Rdev::default()),
            "char" => Body::Special(FileType::CharDevice, self.rdev()?),
            "block" => Body::Special(FileType::BlockDevice, self.rdev()?),
            "whiteout" => Body::WHITEOUT,
            "xwhiteout" => Body::XattrWhiteout,
            "opaque" => Body::Opaque,
            "whiteouts" => Body::Whiteouts,
            _ => return Err(format!("`{kind}` is no type")),
        })
    }

    fn rdev(&mut self) -> Result<Rdev, String> {
        self.expect("(")?;
        let major = number(self.until(&[","]), 10)?;
        self.expect(",")?;
        let minor = number(self.until(&[")"]), 10)?;
        self.expect(")")?;
        Ok(Rdev { major, minor })
    }

    fn attribute(&mut self, item: &mut Item) -> Result<(), String> {
        if self.take("@") {
            item.mode = Some(number(self.value_str(), 8)?);
        } else if self.take("~") {
            let owner = self.value_str();
            let (uid, gid) = owner.split_once(':').ok_or("an owner is `~uid:gid`")?;
            item.owner = Some((number(uid, 10)?, number(gid, 10)?));
        } else if self.take("!") {
            let time = self.value_str();
            item.time = Some(time.parse().map_err(|_| format!("`{time}` is no time"))?);
        } else if self.take("^") {
            for letter in self.value_str().chars() {
                let known = FLAGS.iter().find(|(known, _)| *known == letter);
                item.flags |= known.ok_or(format!("`{letter}` is no flag"))?.1;
            }
        } else if self.take("[") {
            loop {
                let name = self.until(&["="]).to_owned();
                self.expect("=")?;
                let value = if self.rest.starts_with('\'') {
                    self.text()?
                } else {
                    self.until(&[",", "]"]).to_owned()
                };
                item.xattrs.push((name, value.into_bytes()));
                if !self.take(",") {
                    break;
                }
            }
            self.expect("]")?;
        } else {
            return Err(format!("`{}` is no attribute", self.rest));
        }
        Ok(())
    }

    /// Takes what comes before the first of `ends`.
    fn until(&mut self, ends: &[&str]) -> &'a str {
        let end = ends.iter().filter_map(|end| self.rest.find(end)).min();
        let (taken, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }

    /// Takes a value up to the next attribute.
    fn value_str(&mut self) -> &'a str {
        self.until(&["@", "~", "!", "[", "^"])
    }

    fn value(&mut self) -> String {
        self.value_str().to_owned()
    }

    /// Takes a value, quoted or not.
    fn text(&mut self) -> Result<String, String> {
        if !self.take("'") {
            return Ok(self.value());
        }
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\'' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => text.push(match chars.next().map(|(_, c)| c) {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('0') => '\0',
                    Some(c @ ('\'' | '\\')) => c,
                    other => return Err(format!("`\\{}` is no escape", other.unwrap_or(' '))),
                }),
                _ => text.push(c),
            }
        }
        Err("a quote is not closed".into())
    }

    fn take(&mut self, token: &str) -> bool {
        self.rest.strip_prefix(token).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) {
            return Ok(());
        }
        Err(format!("expected `{token}` before `{}`", self.rest))
    }
}

fn number(digits: &str, radix: u32) -> Result<u32, String> {
    u32::from_str_radix(digits, radix).map_err(|_| format!("`{digits}` is no number"))
}

/// Reads a size with K, M or G.
fn parse_size(size: &str) -> Result<u64, String> {
    let (digits, shift) = match size.as_bytes().last() {
        Some(b'K') => (&size[..size.len() - 1], 10),
        Some(b'M') => (&size[..size.len() - 1], 20),
        Some(b'G') => (&size[..size.len() - 1], 30),
        _ => (size, 0),
    };
    let number: u64 = digits.parse().map_err(|_| format!("`{size}` is no size"))?;
    Ok(number << shift)
}
