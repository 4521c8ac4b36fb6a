//! When what the overlay writes is put on disk.

/// What a crash of the machine may cost, the option `fsync=` of the kernel's overlayfs (OVL-65 to OVL-67).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The data of a copied-up file is on disk before its name is.
    #[default]
    Auto,
    /// So are owner, mode and attributes of copied-up files and directories, also where there is no data: for upper
    /// filesystems that may put a rename on disk before what it shows.
    Strict,
    /// Nothing is ever put on disk on purpose. The work directory carries a mark by which later mounts refuse it.
    Volatile,
}
