//! Reading an archive that is not trusted.
//!
//! What two readers could read in two ways is refused: data of what is no file, records twice, something after the end.
//! Headers that are kept in memory have a largest size.

use std::io::{self, Read};

use mica_vfs::{FileType, Mode, Rdev, Time};

use super::block::{BLOCK, Header, padding};
use super::entry::{Entry, Kind};
use super::error::Flaw;
use super::names;
use super::pax::{self, PAX_MAX, decimal, parse_time};
use super::sparse::Map;

/// The longest name in a header of GNU's.
const LONG_NAME_MAX: u64 = 1 << 16;

/// Why an entry is not read.
#[derive(Debug)]
pub(super) enum ReadError {
    Flaw(Flaw),
    Read(io::Error),
}

impl From<Flaw> for ReadError {
    fn from(flaw: Flaw) -> Self {
        Self::Flaw(flaw)
    }
}

/// An archive that is being read.
pub(super) struct TarReader<R> {
    source: R,
    /// The path of the entry that is being read; empty before the first one.
    path: Vec<u8>,
    /// How many bytes of data the entry still has.
    left: u64,
    padding: u64,
}

/// What comes before the header of an entry.
#[derive(Debug, Default)]
struct Before {
    records: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            path: Vec::new(),
            left: 0,
            padding: 0,
        }
    }

    /// Returns the path of the entry that was being read.
    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// Reads the next entry; `None` at the end of the archive, after which there is nothing.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; nothing can be read any more.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, ReadError> {
        self.skip()?;
        let mut before = Before::default();
        loop {
            let block = self.block()?;
            if block.iter().all(|&byte| byte == 0) {
                if before.is_something() {
                    return Err(Flaw::Stray.into());
                }
                self.end()?;
                return Ok(None);
            }
            let header = Header::decode(&block)?;
            match header.sort {
                b'x' => {
                    let records = self.extension(&header, PAX_MAX)?;
                    once(&mut before.records, records)?;
                }
                b'L' => {
                    let name = self.extension(&header, LONG_NAME_MAX)?;
                    once(&mut before.name, until_nul(name))?;
                }
                b'K' => {
                    let link = self.extension(&header, LONG_NAME_MAX)?;
                    once(&mut before.link, until_nul(link))?;
                }
                b'g' => self.global(&header)?,
                _ => return self.entry(header, before).map(Some),
            }
        }
    }

    /// Reads data of the entry; 0 bytes at its end.
    pub(super) fn data(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let room = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let wanted = usize::try_from(self.left.min(room)).unwrap_or_default();
        let wanted = buffer.get_mut(..wanted).unwrap_or_default();
        exactly(&mut self.source, wanted)?;
        self.left -= u64::try_from(wanted.len()).unwrap_or_default();
        Ok(wanted.len())
    }

    /// Puts header and records together.
    fn entry(&mut self, header: Header, before: Before) -> Result<Entry, ReadError> {
        self.path = before.name.clone().unwrap_or_else(|| header.name.clone());
        let records = before.records.unwrap_or_default();
        let mut told = Told::default();
        for (key, value) in pax::records(&records)? {
            if key == b"path" {
                self.path = value.to_vec();
            }
            told.take(key, value)?;
        }
        if let Some(name) = &told.sparse_name {
            self.path.clone_from(name);
        }
        let numbers = header.numbers;
        let link = told.link.or(before.link).unwrap_or(header.link);
        let archived = told.size.unwrap_or(numbers.size);
        let kind = kind_of(
            header.sort,
            &self.path,
            link,
            (numbers.major, numbers.minor),
        )?;
        let is_file = kind == Kind::Plain(FileType::Regular);
        if archived != 0 && !is_file {
            return Err(Flaw::Data.into());
        }
        self.left = archived;
        self.padding = padding(archived);
        let (size, map) = match told.sparse {
            None => (archived, None),
            Some(_) if !is_file => return Err(Flaw::Sparse.into()),
            Some(sparse) => {
                let size = sparse.size()?;
                (size, Some(self.map(size, archived)?))
            }
        };
        let id = |told: Option<u64>, number| {
            u32::try_from(told.unwrap_or(number))
                .ok()
                .filter(|&id| id != u32::MAX)
                .ok_or(Flaw::Number)
        };
        let secs = numbers.mtime;
        Ok(Entry {
            path: self.path.clone(),
            kind,
            mode: Mode::new(u32::try_from(numbers.mode & 0o7777).unwrap_or_default()),
            uid: id(told.uid, numbers.uid)?,
            gid: id(told.gid, numbers.gid)?,
            mtime: told.mtime.unwrap_or(Time { secs, nanos: 0 }),
            size,
            map,
            xattrs: told.xattrs,
            has_text_acl: told.has_text_acl,
        })
    }

    /// Reads the map of a file with holes.
    fn map(&mut self, size: u64, archived: u64) -> Result<Map, ReadError> {
        let (map, length) = Map::read(size, || {
            let mut block = [0; BLOCK];
            match self.data(&mut block)? {
                BLOCK => Ok(block),
                _ => Err(ReadError::Flaw(Flaw::Sparse)),
            }
        })?;
        if length.checked_add(map.stored()) != Some(archived) {
            return Err(Flaw::Sparse.into());
        }
        Ok(map)
    }

    /// Reads what a header has as data.
    fn extension(&mut self, header: &Header, max: u64) -> Result<Vec<u8>, ReadError> {
        let size = header.numbers.size;
        if size > max {
            return Err(Flaw::HeaderTooLong.into());
        }
        let whole = usize::try_from(size + padding(size)).map_err(|_| Flaw::HeaderTooLong)?;
        let mut bytes = vec![0; whole];
        exactly(&mut self.source, &mut bytes)?;
        bytes.truncate(usize::try_from(size).unwrap_or_default());
        Ok(bytes)
    }

    /// Reads a header for all entries that follow: git leaves a comment there.
    fn global(&mut self, header: &Header) -> Result<(), ReadError> {
        let bytes = self.extension(header, PAX_MAX)?;
        let records = pax::records(&bytes)?;
        let is_comment = |key: &[u8]| key == b"comment";
        if records.iter().all(|(key, _)| is_comment(key)) {
            Ok(())
        } else {
            Err(Flaw::Global.into())
        }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], ReadError> {
        let mut block = [0; BLOCK];
        exactly(&mut self.source, &mut block)?;
        Ok(block)
    }

    /// Goes to the end of the entry.
    fn skip(&mut self) -> Result<(), ReadError> {
        let mut buffer = [0; BLOCK];
        while self.data(&mut buffer)? > 0 {}
        let padding = usize::try_from(std::mem::take(&mut self.padding)).unwrap_or_default();
        let rest = buffer.get_mut(..padding).unwrap_or_default();
        exactly(&mut self.source, rest)
    }

    /// Reads the second block of zeros, and all that follows: nothing but zeros.
    fn end(&mut self) -> Result<(), ReadError> {
        if self.block()?.iter().any(|&byte| byte != 0) {
            return Err(Flaw::Trailing.into());
        }
        let mut buffer = [0; 16 * BLOCK];
        loop {
            let read = match self.source.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadError::Read(error)),
            };
            let read = buffer.get(..read).unwrap_or_default();
            if read.iter().any(|&byte| byte != 0) {
                return Err(Flaw::Trailing.into());
            }
        }
    }
}

impl Before {
    const fn is_something(&self) -> bool {
        self.records.is_some() || self.name.is_some() || self.link.is_some()
    }
}

fn once(place: &mut Option<Vec<u8>>, value: Vec<u8>) -> Result<(), Flaw> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Flaw::Stray),
    }
}

fn until_nul(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|&byte| byte == 0) {
        name.truncate(end);
    }
    name
}

fn exactly(source: &mut impl Read, buffer: &mut [u8]) -> Result<(), ReadError> {
    source.read_exact(buffer).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            ReadError::Flaw(Flaw::Truncated)
        } else {
            ReadError::Read(error)
        }
    })
}

/// What the records of an entry tell.
#[derive(Debug, Default)]
struct Told {
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    has_text_acl: bool,
    sparse: Option<Sparse>,
    sparse_name: Option<Vec<u8>>,
}

/// What the records tell of a file with holes.
#[derive(Debug, Default)]
struct Sparse {
    major: Option<u64>,
    minor: Option<u64>,
    size: Option<u64>,
}

impl Sparse {
    /// Returns the length of the file, if it is in the format that is read.
    fn size(&self) -> Result<u64, Flaw> {
        match (self.major, self.minor, self.size) {
            (Some(1), Some(0), Some(size)) => Ok(size),
            _ => Err(Flaw::Sparse),
        }
    }
}

impl Told {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Flaw> {
        let number = || decimal(value).ok_or(Flaw::Record);
        match key {
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(number()?),
            b"gid" => self.gid = Some(number()?),
            b"mtime" => self.mtime = Some(parse_time(value).ok_or(Flaw::Record)?),
            b"SCHILY.acl.access" | b"SCHILY.acl.default" => self.has_text_acl = true,
            b"GNU.sparse.name" => self.sparse_name = Some(value.to_vec()),
            _ if key.starts_with(b"GNU.sparse.") => {
                let sparse = self.sparse.get_or_insert_default();
                match key {
                    b"GNU.sparse.major" => sparse.major = Some(number()?),
                    b"GNU.sparse.minor" => sparse.minor = Some(number()?),
                    b"GNU.sparse.realsize" => sparse.size = Some(number()?),
                    // The formats before 1.0.
                    _ => return Err(Flaw::Sparse),
                }
            }
            _ => {
                if let Some(name) = pax::xattr_name(key) {
                    if self.xattrs.iter().any(|(known, _)| *known == name) {
                        return Err(Flaw::Attribute(name));
                    }
                    self.xattrs.push((name, value.to_vec()));
                }
            }
        }
        Ok(())
    }
}

fn kind_of(sort: u8, path: &[u8], link: Vec<u8>, rdev: (u64, u64)) -> Result<Kind, Flaw> {
    let device = |kind| {
        let number = |number| u32::try_from(number).map_err(|_| Flaw::Number);
        let (major, minor) = (number(rdev.0)?, number(rdev.1)?);
        Ok(Kind::Device(kind, Rdev { major, minor }))
    };
    Ok(match sort {
        // Before there was a type for them, directories had a slash at the end.
        0 | b'0' if path.ends_with(b"/") => Kind::Plain(FileType::Directory),
        0 | b'0' | b'7' => Kind::Plain(FileType::Regular),
        b'1' => Kind::Link(link),
        b'2' => Kind::Symlink(link),
        b'3' => return device(FileType::CharDevice),
        b'4' => return device(FileType::BlockDevice),
        b'5' => Kind::Plain(FileType::Directory),
        b'6' => Kind::Plain(FileType::Fifo),
        sort => return Err(Flaw::Type(sort)),
    })
}

/// Reads an archive to its end and makes nothing of it: what [`import`](super::import()) would refuse whatever it is imported
/// to is an error.
///
/// # Errors
///
/// The first flaw; what reading answers.
pub fn check_archive(source: &mut dyn Read) -> io::Result<Result<u64, Flaw>> {
    let mut reader = TarReader::new(super::compression::unpack(source)?);
    let mut entries = 0;
    loop {
        let flaw = match reader.next() {
            Ok(None) => return Ok(Ok(entries)),
            Ok(Some(entry)) => names::split(&entry.path).err(),
            Err(ReadError::Flaw(flaw)) => Some(flaw),
            Err(ReadError::Read(error)) => return Err(error),
        };
        if let Some(flaw) = flaw {
            return Ok(Err(flaw));
        }
        entries += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::sparse::Map;
    use super::super::writer::{TarWriter, encode};
    use super::*;

    /// An archive with one of each.
    fn whole() -> Vec<u8> {
        let (map, _) = Map::read::<Flaw>(5000, || {
            let mut block = [0; BLOCK];
            block[..9].copy_from_slice(b"1\n1000\n4\n");
            Ok(block)
        })
        .unwrap();
        let plain = |path: &[u8], kind| Entry {
            path: path.to_vec(),
            kind,
            mode: Mode::new(0o644),
            uid: 7,
            gid: 3_000_000,
            mtime: Time { secs: -2, nanos: 5 },
            size: 0,
            map: None,
            xattrs: vec![(b"user.a".to_vec(), b"v".to_vec())],
            has_text_acl: false,
        };
        let regular = Kind::Plain(FileType::Regular);
        let mut sparse = plain(b"d/sparse", regular.clone());
        (sparse.size, sparse.map) = (5000, Some(map));
        let mut file = plain(&[b'n'; 200], regular);
        file.size = 4;
        let mut tar = TarWriter::new(Vec::new());
        for entry in [
            plain(b"d/", Kind::Plain(FileType::Directory)),
            sparse,
            file,
            plain(b"l", Kind::Symlink(vec![b't'; 300])),
            plain(b"h", Kind::Link(b"d/sparse".to_vec())),
        ] {
            let encoded = encode(&entry).map_err(|_| ()).unwrap();
            tar.begin(&encoded, entry.stored()).unwrap();
            tar.data(&b"data"[..usize::try_from(entry.stored()).unwrap()])
                .unwrap();
        }
        tar.finish().unwrap()
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let whole = whole();
        let mut reader = TarReader::new(whole.as_slice());
        let mut entries = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            assert_eq!((entry.uid, entry.gid), (7, 3_000_000));
            assert_eq!(entry.mtime, Time { secs: -2, nanos: 5 });
            assert_eq!(entry.xattrs, [(b"user.a".to_vec(), b"v".to_vec())]);
            let mut data = [0; 10];
            let length = reader.data(&mut data).unwrap();
            entries.push((entry.path, entry.size, data[..length].to_vec()));
        }
        let expected: [(&[u8], u64, &[u8]); 5] = [
            (b"d/", 0, b""),
            (b"d/sparse", 5000, b"data"),
            (&[b'n'; 200], 4, b"data"),
            (b"l", 0, b""),
            (b"h", 0, b""),
        ];
        let expected = expected.map(|(path, size, data)| (path.to_vec(), size, data.to_vec()));
        assert_eq!(entries, expected);
    }

    #[test]
    fn whatever_is_in_an_archive_it_is_read_to_an_end() {
        let whole = whole();
        // xorshift: the same archives each time.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
        };
        let mut read = 0;
        for _ in 0..4_000 {
            let mut damaged = whole.clone();
            for _ in 0..=random(3) {
                let at = random(damaged.len());
                damaged[at] = b"\0 07=\n/.\x80\xff19xgLKS"[random(17)];
            }
            // Most would end at a checksum.
            for at in (0..damaged.len()).step_by(BLOCK) {
                let block = &mut damaged[at..at + BLOCK];
                if block[257..].starts_with(b"ustar") {
                    block[148..156].fill(b' ');
                    let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
            damaged.truncate(damaged.len() - random(2) * random(600));
            let mut source = damaged.as_slice();
            read += u64::from(check_archive(&mut source).unwrap().is_ok());
        }
        // Some damage is to data, owners and times.
        assert!((20..3_900).contains(&read), "{read}");
    }
}
