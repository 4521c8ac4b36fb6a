//! What is around a tar archive.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::path::Path;

use flate2::GzBuilder;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip(1), which every engine reads.
    Gzip,
    /// zstd(1): smaller and faster.
    Zstd,
}

/// The largest window that a reader of zstd has to have, as zstd(1) has it: 128 MiB.
const WINDOW_LOG: u32 = 27;

impl Compression {
    /// Returns what the ending of a file name asks for.
    #[must_use]
    pub fn of_name(file: &Path) -> Self {
        let ending = file.extension().and_then(|ending| ending.to_str());
        match ending {
            Some("gz" | "tgz") => Self::Gzip,
            Some("zst" | "zstd" | "tzst") => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// Compresses what is written.
pub(super) enum Packer<'a> {
    None(&'a mut dyn Write),
    Gzip(GzEncoder<&'a mut dyn Write>),
    Zstd(zstd::Encoder<'static, &'a mut dyn Write>),
}

impl<'a> Packer<'a> {
    pub(super) fn new(out: &'a mut dyn Write, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None(out),
            // No name and no time, so that the same layer has the same bytes.
            Compression::Gzip => {
                Self::Gzip(GzBuilder::new().write(out, flate2::Compression::default()))
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, zstd::DEFAULT_COMPRESSION_LEVEL)?;
                encoder.include_checksum(true)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Writes all that is left.
    pub(super) fn finish(self) -> io::Result<()> {
        match self {
            Self::None(out) => out,
            Self::Gzip(encoder) => encoder.finish()?,
            Self::Zstd(encoder) => encoder.finish()?,
        }
        .flush()
    }
}

impl Write for Packer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::None(out) => out.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Zstd(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::None(out) => out.flush(),
            Self::Gzip(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
        }
    }
}

/// Finds out by the first bytes how `source` is compressed, and reads what is in it.
pub(super) fn unpack<'a>(source: &'a mut dyn Read) -> io::Result<Box<dyn Read + 'a>> {
    let mut first = Vec::new();
    (&mut *source).take(4).read_to_end(&mut first)?;
    let compression = match first.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Compression::Zstd,
        _ => Compression::None,
    };
    let whole = io::Cursor::new(first).chain(source);
    Ok(match compression {
        Compression::None => Box::new(BufReader::new(whole)),
        Compression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(whole))),
        Compression::Zstd => {
            let mut decoder = zstd::Decoder::new(whole)?;
            decoder.window_log_max(WINDOW_LOG)?;
            let mut reader = BufReader::new(decoder);
            // What is no zstd says so now.
            reader.fill_buf()?;
            Box::new(reader)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_unpacked_and_has_the_same_bytes_each_time() {
        let text = b"a layer ".repeat(10_000);
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let pack = || {
                let mut packed = Vec::new();
                let mut packer = Packer::new(&mut packed, compression).unwrap();
                packer.write_all(&text).unwrap();
                packer.finish().unwrap();
                packed
            };
            let packed = pack();
            assert_eq!(packed, pack());
            assert_eq!(packed.len() < 2000, compression != Compression::None);
            let mut read = Vec::new();
            let mut source = packed.as_slice();
            unpack(&mut source).unwrap().read_to_end(&mut read).unwrap();
            assert_eq!(read, text);
        }
    }

    #[test]
    fn the_ending_of_a_name_says_how_it_is_compressed() {
        for (name, expected) in [
            ("l.tar", Compression::None),
            ("l", Compression::None),
            ("l.tar.gz", Compression::Gzip),
            ("l.tgz", Compression::Gzip),
            ("l.tar.zst", Compression::Zstd),
        ] {
            assert_eq!(Compression::of_name(Path::new(name)), expected, "{name}");
        }
    }
}
