//! A block of a tar archive as a header (POSIX ustar, with GNU's numbers in base 256).
//!
//! ```text
//! 0 name 100 mode 108 uid 116 gid 124 size 136 mtime 148 checksum 156 type 157 link 257 magic 263 version
//! 265 user 297 group 329 major 337 minor 345 prefix 500
//! ```

use std::ops::Range;

use super::error::Flaw;

/// The unit of an archive.
pub(super) const BLOCK: usize = 512;

const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const MAJOR: Range<usize> = 329..337;
const MINOR: Range<usize> = 337..345;
const PREFIX: Range<usize> = 345..500;

/// How many bytes of a name fit into a header.
pub(super) const NAME_ROOM: usize = 100;
/// The largest number in eight bytes of octal digits.
pub(super) const SMALL_MAX: u64 = 0o7_777_777;
/// The largest number in twelve bytes of octal digits.
pub(super) const LARGE_MAX: u64 = 0o77_777_777_777;

/// The numbers of a header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) mode: u64,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    /// Seconds since 1970; old archives have negative ones.
    pub(super) mtime: i64,
    pub(super) major: u64,
    pub(super) minor: u64,
}

/// A header as it stands in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) sort: u8,
    pub(super) numbers: Numbers,
}

impl Header {
    /// Writes it; a name that is too long is cut, and a number that is too large is 0: both stand in a record before it.
    pub(super) fn encode(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        put(&mut block, NAME, &self.name);
        put(&mut block, LINK, &self.link);
        put(&mut block, MAGIC, b"ustar\x0000");
        let Numbers {
            mode,
            uid,
            gid,
            size,
            mtime,
            major,
            minor,
        } = self.numbers;
        for (at, number) in [
            (MODE, mode),
            (UID, uid),
            (GID, gid),
            (MAJOR, major),
            (MINOR, minor),
        ] {
            let number = if number > SMALL_MAX { 0 } else { number };
            put(&mut block, at, format!("{number:07o}").as_bytes());
        }
        let mtime = u64::try_from(mtime).unwrap_or_default();
        for (at, number) in [(SIZE, size), (MTIME, mtime)] {
            let number = if number > LARGE_MAX { 0 } else { number };
            put(&mut block, at, format!("{number:011o}").as_bytes());
        }
        if let Some(sort) = block.get_mut(TYPE) {
            *sort = self.sort;
        }
        let (sum, _) = sums(&block);
        put(&mut block, CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
        block
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// The checksum is wrong, or a number is none.
    pub(super) fn decode(block: &[u8; BLOCK]) -> Result<Self, Flaw> {
        let stored = number(field(block, CHECKSUM)).map_err(|_| Flaw::Checksum)?;
        let (sum, signed) = sums(block);
        // Old programs took bytes for signed.
        if stored != i64::from(sum) && stored != signed {
            return Err(Flaw::Checksum);
        }
        let mut name = text(field(block, NAME)).to_vec();
        let prefix = text(field(block, PREFIX));
        // GNU's headers have times there.
        if field(block, MAGIC).starts_with(b"ustar\0") && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        let sort = block.get(TYPE).copied().unwrap_or_default();
        let is_device = matches!(sort, b'3' | b'4');
        let device = |at| {
            if is_device {
                unsigned(field(block, at))
            } else {
                Ok(0)
            }
        };
        Ok(Self {
            name,
            link: text(field(block, LINK)).to_vec(),
            sort,
            numbers: Numbers {
                mode: unsigned(field(block, MODE))?,
                uid: unsigned(field(block, UID))?,
                gid: unsigned(field(block, GID))?,
                size: unsigned(field(block, SIZE))?,
                mtime: number(field(block, MTIME))?,
                major: device(MAJOR)?,
                minor: device(MINOR)?,
            },
        })
    }
}

/// How many bytes are missing to the end of a block.
pub(super) const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn put(block: &mut [u8; BLOCK], at: Range<usize>, bytes: &[u8]) {
    if let Some(field) = block.get_mut(at) {
        for (to, from) in field.iter_mut().zip(bytes) {
            *to = *from;
        }
    }
}

fn field(block: &[u8; BLOCK], at: Range<usize>) -> &[u8] {
    block.get(at).unwrap_or_default()
}

fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&byte| byte == 0);
    field.get(..end.unwrap_or(field.len())).unwrap_or_default()
}

/// Adds all bytes up, those of the checksum as spaces: as unsigned and as signed ones.
fn sums(block: &[u8; BLOCK]) -> (u32, i64) {
    let bytes = block.iter().enumerate().map(
        |(at, &byte)| {
            if CHECKSUM.contains(&at) { b' ' } else { byte }
        },
    );
    bytes.fold((0, 0), |(sum, signed), byte| {
        (
            sum + u32::from(byte),
            signed + i64::from(byte.cast_signed()),
        )
    })
}

fn unsigned(field: &[u8]) -> Result<u64, Flaw> {
    number(field)?.try_into().map_err(|_| Flaw::Number)
}

/// Reads octal digits between spaces and NULs, or a number in base 256.
fn number(field: &[u8]) -> Result<i64, Flaw> {
    match field.first() {
        Some(&first) if first & 0x80 != 0 => base_256(field),
        _ => octal(field),
    }
}

fn octal(field: &[u8]) -> Result<i64, Flaw> {
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let digits: Vec<u8> = field.iter().copied().skip_while(|b| *b == b' ').collect();
    let end = digits.iter().position(is_blank).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(end).ok_or(Flaw::Number)?;
    if !rest.iter().all(is_blank) {
        return Err(Flaw::Number);
    }
    digits.iter().try_fold(0_i64, |number, digit| match digit {
        b'0'..=b'7' => number
            .checked_mul(8)
            .and_then(|number| number.checked_add(i64::from(digit - b'0')))
            .ok_or(Flaw::Number),
        _ => Err(Flaw::Number),
    })
}

fn base_256(field: &[u8]) -> Result<i64, Flaw> {
    let negative = field.first().is_some_and(|first| first & 0x40 != 0);
    let mut bytes = field.iter().copied();
    // The first bit says that it is in base 256, the second one is the sign.
    let first = bytes.next().unwrap_or_default() & 0x3f;
    let first = if negative { first | 0xc0 } else { first };
    bytes.try_fold(i64::from(first.cast_signed()), |number, byte| {
        number
            .checked_mul(256)
            .and_then(|number| number.checked_add(i64::from(byte)))
            .ok_or(Flaw::Number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_was_written_is_read_as_it_was() {
        let header = Header {
            name: b"a/b\xff".to_vec(),
            link: vec![b'l'; 100],
            sort: b'3',
            numbers: Numbers {
                mode: 0o4755,
                uid: SMALL_MAX,
                gid: 0,
                size: LARGE_MAX,
                mtime: 1,
                major: 10,
                minor: 229,
            },
        };
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn one_wrong_byte_is_a_wrong_checksum() {
        let header = Header {
            name: b"a".to_vec(),
            link: Vec::new(),
            sort: b'0',
            numbers: Numbers::default(),
        };
        let mut block = header.encode();
        block[300] ^= 1;
        assert_eq!(Header::decode(&block), Err(Flaw::Checksum));
    }

    #[test]
    fn numbers_are_octal_or_in_base_256() {
        for (field, expected) in [
            (&b"0000017\0"[..], Ok(15)),
            (b"  17 \0\0\0", Ok(15)),
            (b"\0\0\0\0\0\0\0\0", Ok(0)),
            (b"\x80\0\0\0\0\0\x01\x00", Ok(256)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Ok(-2)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Ok(i64::MAX)),
            (
                b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
                Err(Flaw::Number),
            ),
            (b"0000018\0", Err(Flaw::Number)),
            (b"-1\0\0\0\0\0\0", Err(Flaw::Number)),
            (b"1 1\0\0\0\0\0", Err(Flaw::Number)),
        ] {
            assert_eq!(number(field), expected, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn data_is_padded_to_whole_blocks() {
        assert_eq!([0, 1, 511, 512, 513].map(padding), [0, 511, 1, 0, 511]);
    }
}
