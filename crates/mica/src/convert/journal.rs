//! The journal: a plan as bytes (docs/format.md).
//!
//! It is complete or not there, as it gets its name by a rename after it is on disk. A checksum tells of a disk that lost it.

use mica_overlay::XattrNamespace;
use mica_vfs::Time;

use super::plan::{DirPlan, Mark, Names, Plan, Source, Step};

/// What a journal begins with.
const MAGIC: &[u8] = b"mica convert 1\n";

/// A plan and what it was made for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Journal {
    /// The words of the conversion, which must be the same when it is gone on with.
    pub(super) purpose: Vec<u8>,
    /// Under which prefix the marks of the lowers are.
    pub(super) xattrs: XattrNamespace,
    pub(super) plan: Plan,
}

impl Journal {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.bytes(&self.purpose);
        out.0.push(u8::from(self.xattrs == XattrNamespace::User));
        out.count(self.plan.dirs.len());
        for dir in &self.plan.dirs {
            out.dir(dir);
        }
        let sum = checksum(&out.0);
        out.0.extend_from_slice(&sum.to_le_bytes());
        out.0
    }

    /// Reads a journal; `None` if it is damaged.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<8>()?;
        if checksum(body) != u64::from_le_bytes(*sum) {
            return None;
        }
        let mut input = Reader(body.strip_prefix(MAGIC)?);
        let purpose = input.bytes()?;
        let xattrs = match input.byte()? {
            0 => XattrNamespace::Trusted,
            _ => XattrNamespace::User,
        };
        let mut dirs = Vec::new();
        for _ in 0..input.count()? {
            dirs.push(input.dir()?);
        }
        let plan = Plan { dirs };
        input.0.is_empty().then_some(Self {
            purpose,
            xattrs,
            plan,
        })
    }
}

/// FNV-1a, 64 bits: a disk that lost a page is no adversary.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Appends values.
struct Writer(Vec<u8>);

impl Writer {
    fn count(&mut self, count: usize) {
        self.0.extend_from_slice(&(count as u64).to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.0.push(u8::from(bytes.is_some()));
        self.bytes(bytes.unwrap_or_default());
    }

    fn names(&mut self, names: &Names) {
        self.count(names.len());
        for name in names {
            self.bytes(name);
        }
    }

    fn source(&mut self, source: &Source) {
        self.0.extend_from_slice(&source.layer.to_le_bytes());
        self.names(&source.path);
    }

    fn time(&mut self, time: Time) {
        self.0.extend_from_slice(&time.secs.to_le_bytes());
        self.0.extend_from_slice(&time.nanos.to_le_bytes());
    }

    fn dir(&mut self, dir: &DirPlan) {
        self.names(&dir.path);
        self.time(dir.times.0);
        self.time(dir.times.1);
        self.count(dir.steps.len());
        for step in &dir.steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        let tag = match step {
            Step::Xattr { .. } => 1,
            Step::Put { .. } => 2,
            Step::Remove { .. } => 3,
            Step::Copy { .. } => 4,
            Step::Link { .. } => 5,
            Step::Fill { .. } => 6,
        };
        self.0.push(tag);
        self.bytes(step.name());
        match step {
            Step::Xattr {
                attribute, value, ..
            } => {
                self.bytes(attribute);
                self.optional(value.as_deref());
            }
            Step::Put { mark, .. } => match mark {
                Mark::Device => self.0.push(0),
                Mark::File(attribute) => {
                    self.0.push(1);
                    self.optional(attribute.as_deref());
                }
            },
            Step::Remove { .. } => {}
            Step::Copy { source, data, .. } => {
                self.source(source);
                self.0.push(u8::from(data.is_some()));
                if let Some(data) = data {
                    self.source(data);
                }
            }
            Step::Link { to, .. } => self.names(to),
            Step::Fill {
                data,
                marks,
                times,
                capability,
                ..
            } => {
                self.source(data);
                self.count(marks.len());
                for mark in marks {
                    self.bytes(mark);
                }
                self.time(times.0);
                self.time(times.1);
                self.optional(capability.as_deref());
            }
        }
    }
}

/// Takes values off the front; `None` where they end early.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Reads a number of things that follow, of which each takes a byte at least.
    fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(u64::from_le_bytes(self.array()?)).ok()?;
        (count <= self.0.len()).then_some(count)
    }

    fn bytes(&mut self) -> Option<Vec<u8>> {
        let count = self.count()?;
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes.to_vec())
    }

    fn optional(&mut self) -> Option<Option<Vec<u8>>> {
        let is_there = self.byte()? == 1;
        let bytes = self.bytes()?;
        Some(is_there.then_some(bytes))
    }

    fn names(&mut self) -> Option<Names> {
        let count = self.count()?;
        (0..count)
            .map(|_| self.bytes().map(Vec::into_boxed_slice))
            .collect()
    }

    fn source(&mut self) -> Option<Source> {
        let layer = u32::from_le_bytes(self.array()?);
        let path = self.names()?;
        Some(Source { layer, path })
    }

    fn time(&mut self) -> Option<Time> {
        let secs = i64::from_le_bytes(self.array()?);
        let nanos = u32::from_le_bytes(self.array()?);
        Some(Time { secs, nanos })
    }

    fn dir(&mut self) -> Option<DirPlan> {
        let path = self.names()?;
        let times = (self.time()?, self.time()?);
        let count = self.count()?;
        let steps = (0..count).map(|_| self.step()).collect::<Option<_>>()?;
        Some(DirPlan { path, times, steps })
    }

    fn step(&mut self) -> Option<Step> {
        let tag = self.byte()?;
        let name = self.bytes()?.into_boxed_slice();
        Some(match tag {
            1 => Step::Xattr {
                name,
                attribute: self.bytes()?,
                value: self.optional()?,
            },
            2 => {
                let mark = match self.byte()? {
                    0 => Mark::Device,
                    _ => Mark::File(self.optional()?),
                };
                Step::Put { name, mark }
            }
            3 => Step::Remove { name },
            4 => {
                let source = self.source()?;
                let data = match self.byte()? {
                    0 => None,
                    _ => Some(self.source()?),
                };
                Step::Copy { name, source, data }
            }
            5 => Step::Link {
                name,
                to: self.names()?,
            },
            6 => {
                let data = self.source()?;
                let count = self.count()?;
                let marks = (0..count).map(|_| self.bytes()).collect::<Option<_>>()?;
                let times = (self.time()?, self.time()?);
                let capability = self.optional()?;
                Step::Fill {
                    name,
                    data,
                    marks,
                    times,
                    capability,
                }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Journal {
        let names = |names: &[&[u8]]| names.iter().map(|&name| name.into()).collect::<Names>();
        let source = || Source {
            layer: 7,
            path: names(&[b"a", b"b\n"]),
        };
        let time = Time {
            secs: -1,
            nanos: 999_999_999,
        };
        let name: Box<[u8]> = b"n".as_slice().into();
        let copy = |data| Step::Copy {
            name: name.clone(),
            source: source(),
            data,
        };
        let steps = vec![
            Step::Xattr {
                name: [].into(),
                attribute: b"user.a".to_vec(),
                value: None,
            },
            Step::Put {
                name: name.clone(),
                mark: Mark::Device,
            },
            Step::Put {
                name: name.clone(),
                mark: Mark::File(Some(b"user.w".to_vec())),
            },
            Step::Remove { name: name.clone() },
            copy(None),
            copy(Some(source())),
            Step::Link {
                name: name.clone(),
                to: names(&[b"x"]),
            },
            Step::Fill {
                name,
                data: source(),
                marks: vec![b"m".to_vec()],
                times: (time, time),
                capability: Some(vec![1]),
            },
        ];
        let dir = DirPlan {
            path: names(&[]),
            times: (time, time),
            steps,
        };
        Journal {
            purpose: b"to=wh".to_vec(),
            xattrs: XattrNamespace::User,
            plan: Plan { dirs: vec![dir] },
        }
    }

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        assert_eq!(Journal::decode(&example().encode()), Some(example()));
    }

    #[test]
    fn a_journal_that_lost_or_changed_a_byte_is_none() {
        let whole = example().encode();
        for end in 0..whole.len() {
            assert_eq!(Journal::decode(&whole[..end]), None, "{end}");
            let mut changed = whole.clone();
            changed[end] ^= 1;
            assert_eq!(Journal::decode(&changed), None, "{end}");
        }
    }
}
