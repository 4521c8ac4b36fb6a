//! Uppers as OCI image layers, and layers as uppers.
//!
//! A layer is a tar archive: what is gone is a file called `.wh.NAME`, and a file `.wh..wh..opq` hides what lies below its
//! directory. [`export()`] writes one in one pass, [`import()`] reads one in one pass; neither keeps more than the names of one
//! directory for each level, and the first names of files that have several.
//!
//! # Invariants
//!
//! - An export has the same bytes each time: entries are sorted, and nothing of the machine or of the time is in it.
//! - No attribute of an overlay is exported or imported. What only such an attribute can say is resolved, or refused.
//! - An archive is not trusted: nothing outside the new directory is reached by it, and one that can be read in two ways is
//!   refused. What was made of it is removed again.

mod block;
mod compression;
mod dress;
mod entry;
mod error;
mod export;
mod import;
mod leaving_out;
mod names;
mod output;
mod owners;
mod pax;
mod place;
mod reader;
mod resolve;
mod sparse;
mod target;
mod writer;

pub use compression::Compression;
pub use error::{ExportError, Flaw, ImportError, Unexportable};
pub use export::{ExportSpec, Exported, export};
pub use import::{DevicePolicy, ImportOwners, ImportSpec, Imported, import};
pub use leaving_out::{LeftOut, Note};
pub use reader::check_archive;
