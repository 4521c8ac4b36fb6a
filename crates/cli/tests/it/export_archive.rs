//! Archives made by hand, for what no program would write.

/// An entry as it is to stand in an archive.
pub(crate) struct Raw<'a> {
    pub(crate) name: &'a str,
    pub(crate) sort: u8,
    pub(crate) link: &'a str,
    pub(crate) data: &'a [u8],
    /// Major and minor number.
    pub(crate) device: (u32, u32),
}

/// An entry of a type, with nothing else.
pub(crate) fn raw(name: &str, sort: u8) -> Raw<'_> {
    Raw {
        name,
        sort,
        link: "",
        data: b"",
        device: (0, 0),
    }
}

pub(crate) fn file<'a>(name: &'a str, data: &'a [u8]) -> Raw<'a> {
    Raw {
        data,
        ..raw(name, b'0')
    }
}

pub(crate) fn link<'a>(name: &'a str, sort: u8, link: &'a str) -> Raw<'a> {
    Raw {
        link,
        ..raw(name, sort)
    }
}

/// Writes the length, key and value of a record.
pub(crate) fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|n| *n == rest + n.to_string().len()).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

/// A header with records for the next entry.
pub(crate) fn pax(records: &[u8]) -> Vec<u8> {
    file_of(b'x', records)
}

pub(crate) fn file_of(sort: u8, data: &[u8]) -> Vec<u8> {
    Raw {
        data,
        ..raw("header", sort)
    }
    .encode()
}

impl Raw<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; 512];
        let put = |block: &mut Vec<u8>, at: usize, bytes: &[u8]| {
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        let size = format!("{:011o}", self.data.len());
        let (major, minor) = self.device;
        put(&mut block, 0, self.name.as_bytes());
        put(&mut block, 100, b"0000644\x000000000\x000000000\0");
        put(&mut block, 124, size.as_bytes());
        put(&mut block, 136, b"00000000000\0");
        put(&mut block, 157, self.link.as_bytes());
        put(&mut block, 257, b"ustar\x0000");
        put(&mut block, 329, format!("{major:07o}").as_bytes());
        put(&mut block, 337, format!("{minor:07o}").as_bytes());
        block[156] = self.sort;
        seal(&mut block);
        block.extend_from_slice(self.data);
        block.resize(block.len().next_multiple_of(512), 0);
        block
    }
}

/// Writes the checksum of a header.
pub(crate) fn seal(block: &mut [u8]) {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block[..512].iter().map(|&byte| u32::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// Puts entries together, with the end after them.
pub(crate) fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut all = entries.concat();
    all.extend_from_slice(&[0; 1024]);
    all
}
