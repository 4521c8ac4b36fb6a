//! Files that a process has mapped: loads, stores, and what of them a file has when they are synced.
//!
//! Loads and stores are made by system calls that copy from and to the mapping, so that one beyond the end of the file is
//! an errno (`EFAULT`) and no signal. A mapping outlives the slot that it was made from; its file stays open for it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::pipe::PipeFlags;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    FileOffset, MmapRegion, ReadVolatile as _, VolatileMemory as _, VolatileMemoryError,
    WriteVolatile as _,
};

use super::{
    At, Held, NONSENSE, Said, Slot, done, drop_privileges, flags, number, open, show_data,
};

/// How much of a file is mapped, and so how far a load or store may go: more than any offset that is drawn.
const MAPPED: usize = 1 << 17;
/// How much one load copies.
const LOADED: u64 = 12;
/// What one page of memory has.
const PAGE: u64 = 4096;
/// As statfs(2) calls the kernel's overlayfs.
const OVERLAYFS: i64 = 0x794c_7630;

/// A part of the address space that shows a file.
#[derive(Debug)]
pub(super) struct Mapping {
    region: MmapRegion,
    file: Arc<File>,
    /// Whether it can be stored into: its file is open for that.
    writes: bool,
    /// Whether its stores are the file's.
    shared: bool,
}

/// Does `words`, if they are one of these operations.
pub(super) fn apply(words: &[&str], at: At<'_>, held: &mut Held) -> Option<Said> {
    if let ["storeinto", path, offset, text] = *words {
        return Some(store_into(at, path, offset, text));
    }
    let [call, slot, rest @ ..] = words else {
        return None;
    };
    let slot: Slot = slot.parse().ok()?;
    let mapping = held.mappings.get_mut(slot)?;
    let mapped = mapping.as_ref().ok_or(Errno::BADF);
    Some(match (*call, rest) {
        ("map", [of, how]) => {
            let file = of
                .parse()
                .ok()
                .and_then(|of: Slot| held.files.get(of)?.as_ref());
            file.ok_or(Errno::BADF).and_then(|file| {
                *mapping = Some(Mapping::new(file.try_clone().map_err(|_| NONSENSE)?, how)?);
                Ok("ok".to_owned())
            })
        }
        ("load", [offset]) => mapped.and_then(|it| it.load(number(offset)?)),
        ("store", [offset, text]) => {
            mapped.and_then(|it| it.store(number(offset)?, text.as_bytes()))
        }
        ("mapsync", []) => mapped.and_then(Mapping::sync),
        ("unmap", []) => match mapping.take() {
            Some(_) => Ok("ok".to_owned()),
            None => Err(Errno::BADF),
        },
        _ => return None,
    })
}

/// Opens a file that need not be copied up, and changes it by a store alone.
///
/// What cannot be stored into is not opened: the kernel would copy it up for that (D-1).
fn store_into(at: At<'_>, path: &str, offset: &str, text: &str) -> Said {
    let end = number::<u64>(offset)?.saturating_add(text.len().try_into().map_err(|_| NONSENSE)?);
    if u64::try_from(rustix::fs::stat(at(path))?.st_size).is_ok_and(|size| size < end) {
        return Err(Errno::NXIO);
    }
    let file = open(at(path), OFlags::RDWR, Mode::empty())?;
    if !flags::protection(&file).is_empty() {
        return Err(Errno::PERM);
    }
    let mapping = Mapping::new(file, "shared")?;
    mapping.store(number(offset)?, text.as_bytes())?;
    mapping.load(number(offset)?)?;
    mapping.sync()
}

impl Mapping {
    fn new(file: OwnedFd, how: &str) -> Result<Self, Errno> {
        let shared = match how {
            "shared" => MapFlags::SHARED,
            "private" => MapFlags::PRIVATE,
            _ => return Err(NONSENSE),
        };
        let writes = rustix::fs::fcntl_getfl(&file)?.contains(OFlags::RDWR);
        let protection = if writes {
            ProtFlags::READ | ProtFlags::WRITE
        } else {
            ProtFlags::READ
        };
        let file = Arc::new(File::from(file));
        let region = MmapRegion::build(
            Some(FileOffset::from_arc(Arc::clone(&file), 0)),
            MAPPED,
            protection.bits().cast_signed(),
            shared.bits().cast_signed(),
        )
        .map_err(|error| match error {
            MmapRegionError::Mmap(error) => error
                .raw_os_error()
                .map_or(NONSENSE, Errno::from_raw_os_error),
            _ => NONSENSE,
        })?;
        Ok(Self {
            region,
            file,
            writes,
            shared: shared == MapFlags::SHARED,
        })
    }

    /// Shows what the mapping has from `offset` on, up to the end of the file; what comes between that and the end of the page
    /// is nobody's. A page that is wholly behind the end is an `EFAULT`.
    fn load(&self, offset: u64) -> Said {
        let size = self.size()?;
        let len = match size.saturating_sub(offset) {
            0 if offset < size.next_multiple_of(PAGE) => return Ok("end".to_owned()),
            0 => 1,
            rest => rest.min(LOADED),
        };
        // A page that was written to in vain is read again by those alone who read (D-39).
        let in_file = self.file_has(offset, len);
        let loaded = self.copy_out(offset, len);
        if !self.writes && self.is_of_the_kernels_overlay()? {
            // One of a lower file goes on to show that (D-4): told is what the file has.
            return in_file;
        }
        loaded.map(|data| show_data(&data))
    }

    /// Reads what a mapping shows that is coherent with its file.
    fn file_has(&self, offset: u64, len: u64) -> Said {
        let mut data = vec![0; len.try_into().map_err(|_| NONSENSE)?];
        match rustix::io::pread(&self.file, &mut data, offset)? {
            0 => Err(Errno::FAULT),
            count => Ok(show_data(data.get(..count).unwrap_or_default())),
        }
    }

    fn copy_out(&self, offset: u64, len: u64) -> Result<Vec<u8>, Errno> {
        let (from, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let at = |number: u64| usize::try_from(number).map_err(|_| NONSENSE);
        let slice = self
            .region
            .get_slice(at(offset)?, at(len)?)
            .map_err(errno)?;
        let count = (&to).write_volatile(&slice).map_err(errno)?;
        let mut data = vec![0; count];
        let count = rustix::io::read(&from, &mut data)?;
        data.truncate(count);
        Ok(data)
    }

    /// Stores what lies wholly in the file: in the rest of its last page nobody keeps it.
    fn store(&self, offset: u64, data: &[u8]) -> Said {
        let end = offset.saturating_add(data.len().try_into().map_err(|_| NONSENSE)?);
        if !self.writes {
            return Err(Errno::ACCESS);
        }
        if self.size()? < end {
            return Err(Errno::NXIO);
        }
        // The kernel lets those go on who mapped it before (D-19).
        if self.shared && !flags::protection(&self.file).is_empty() {
            return Err(Errno::PERM);
        }
        if self.shared {
            self.drop_privileges()?;
        }
        let (from, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::write(&to, data)?;
        let offset = usize::try_from(offset).map_err(|_| NONSENSE)?;
        let mut slice = self.region.get_slice(offset, data.len()).map_err(errno)?;
        let count = (&from).read_volatile(&mut slice).map_err(errno)?;
        Ok(count.to_string())
    }

    /// Takes from the file what it loses on a FUSE mount when a store is written (D-38).
    fn drop_privileges(&self) -> Result<(), Errno> {
        const CAPABILITIES: &str = "security.capability";
        drop_privileges(&self.file)?;
        if rustix::fs::fgetxattr(&self.file, CAPABILITIES, &mut [0; 64]).is_ok() {
            rustix::fs::fremovexattr(&self.file, CAPABILITIES)?;
        }
        Ok(())
    }

    /// Has everything stored written, as msync(2) with `MS_SYNC` does.
    pub(super) fn sync(&self) -> Said {
        done(rustix::fs::fsync(&self.file))
    }

    fn size(&self) -> Result<u64, Errno> {
        let stat = rustix::fs::fstat(&self.file)?;
        u64::try_from(stat.st_size).map_err(|_| NONSENSE)
    }

    fn is_of_the_kernels_overlay(&self) -> Result<bool, Errno> {
        Ok(rustix::fs::fstatfs(&self.file)?.f_type == OVERLAYFS)
    }
}

fn errno(error: VolatileMemoryError) -> Errno {
    match error {
        VolatileMemoryError::IOError(error) => error
            .raw_os_error()
            .map_or(NONSENSE, Errno::from_raw_os_error),
        _ => NONSENSE,
    }
}
