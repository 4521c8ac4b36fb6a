//! Writing an archive: ustar headers, with PAX records for what does not fit into them.

use std::io::{self, Write};

use mica_vfs::FileType;

use super::block::{BLOCK, Header, LARGE_MAX, NAME_ROOM, Numbers, SMALL_MAX, padding};
use super::entry::{Entry, Kind};
use super::pax::{self, PAX_MAX};
use super::sparse::archived;

/// An entry that takes more records than readers read.
#[derive(Debug)]
pub(super) struct TooLong;

/// What an entry looks like in an archive: all that comes before its data.
#[derive(Debug)]
pub(super) struct Encoded {
    bytes: Vec<u8>,
    /// How many bytes of data are to come, the map among them.
    archived: u64,
}

/// Writes what comes before an entry's data.
///
/// # Errors
///
/// [`TooLong`]
pub(super) fn encode(entry: &Entry) -> Result<Encoded, TooLong> {
    let map = entry.map.as_ref().map(super::sparse::Map::encode);
    let map = map.unwrap_or_default();
    let archived = archived(&map, entry.stored());
    let (sort, link, rdev) = match &entry.kind {
        Kind::Plain(kind) => (sort(*kind), &[][..], None),
        Kind::Symlink(target) => (b'2', target.as_slice(), None),
        Kind::Link(target) => (b'1', target.as_slice(), None),
        Kind::Device(kind, rdev) => (sort(*kind), &[][..], Some(rdev)),
    };
    let name = if entry.map.is_some() {
        sparse_name(&entry.path)
    } else {
        entry.path.clone()
    };
    let header = Header {
        name,
        link: link.to_vec(),
        sort,
        numbers: Numbers {
            mode: u64::from(entry.mode.bits()),
            uid: u64::from(entry.uid),
            gid: u64::from(entry.gid),
            size: archived,
            mtime: entry.mtime.secs,
            major: rdev.map_or(0, |rdev| u64::from(rdev.major)),
            minor: rdev.map_or(0, |rdev| u64::from(rdev.minor)),
        },
    };
    let records = records(entry, &header);
    let mut bytes = Vec::new();
    if !records.is_empty() {
        let size = u64::try_from(records.len()).map_err(|_| TooLong)?;
        if size > PAX_MAX {
            return Err(TooLong);
        }
        let extended = Header {
            name: b"PaxHeaders.0/record".to_vec(),
            link: Vec::new(),
            sort: b'x',
            numbers: Numbers {
                mode: 0o644,
                size,
                ..Numbers::default()
            },
        };
        bytes.extend_from_slice(&extended.encode());
        bytes.extend_from_slice(&records);
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes.extend_from_slice(&header.encode());
    bytes.extend_from_slice(&map);
    Ok(Encoded { bytes, archived })
}

/// Writes what the header has no room for.
fn records(entry: &Entry, header: &Header) -> Vec<u8> {
    let mut records = Vec::new();
    let mut texts: Vec<(&[u8], &[u8])> = Vec::new();
    if entry.map.is_some() {
        texts.push((b"GNU.sparse.name", &entry.path));
    }
    if header.name.len() > NAME_ROOM {
        texts.push((b"path", &header.name));
    }
    if header.link.len() > NAME_ROOM {
        texts.push((b"linkpath", &header.link));
    }
    if texts
        .iter()
        .any(|(_, text)| std::str::from_utf8(text).is_err())
    {
        pax::put(&mut records, b"hdrcharset", b"BINARY");
    }
    for (key, text) in texts {
        pax::put(&mut records, key, text);
    }
    let numbers = &header.numbers;
    for (key, number, max) in [
        (&b"uid"[..], numbers.uid, SMALL_MAX),
        (b"gid", numbers.gid, SMALL_MAX),
        (b"size", numbers.size, LARGE_MAX),
    ] {
        if number > max {
            pax::put(&mut records, key, number.to_string().as_bytes());
        }
    }
    let fits = u64::try_from(numbers.mtime).is_ok_and(|secs| secs <= LARGE_MAX);
    if entry.mtime.nanos != 0 || !fits {
        pax::put(&mut records, b"mtime", pax::time(entry.mtime).as_bytes());
    }
    if entry.map.is_some() {
        pax::put(&mut records, b"GNU.sparse.major", b"1");
        pax::put(&mut records, b"GNU.sparse.minor", b"0");
        let size = entry.size.to_string();
        pax::put(&mut records, b"GNU.sparse.realsize", size.as_bytes());
    }
    for (name, value) in &entry.xattrs {
        pax::put_xattr(&mut records, name, value);
    }
    records
}

/// Returns the name under which a reader without sparse files finds one.
fn sparse_name(path: &[u8]) -> Vec<u8> {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    let (dir, name) = path.split_at(slash.map_or(0, |at| at + 1));
    [dir, b"GNUSparseFile.0/", name].concat()
}

const fn sort(kind: FileType) -> u8 {
    match kind {
        FileType::Regular | FileType::Socket => b'0',
        FileType::Symlink => b'2',
        FileType::CharDevice => b'3',
        FileType::BlockDevice => b'4',
        FileType::Directory => b'5',
        FileType::Fifo => b'6',
    }
}

/// An archive that is being written.
#[derive(Debug)]
pub(super) struct TarWriter<W> {
    out: W,
    /// How many bytes of data the last entry still has to get.
    missing: u64,
    padding: u64,
}

impl<W: Write> TarWriter<W> {
    pub(super) fn new(out: W) -> Self {
        Self {
            out,
            missing: 0,
            padding: 0,
        }
    }

    /// Begins an entry, whose data follows.
    pub(super) fn begin(&mut self, encoded: &Encoded, stored: u64) -> io::Result<()> {
        self.pad()?;
        self.missing = stored;
        self.padding = padding(encoded.archived);
        self.out.write_all(&encoded.bytes)
    }

    /// Writes data of the entry.
    pub(super) fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.missing = self.missing.checked_sub(len).ok_or(io::ErrorKind::Other)?;
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.missing != 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let zeros = [0; BLOCK];
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or_default();
        self.out.write_all(zeros.get(..padding).unwrap_or_default())
    }

    /// Writes the end.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }
}
