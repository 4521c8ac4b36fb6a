//! The journal: a directory of the session.
//!
//! ```text
//! journal/made       what is being made beside its place: a path and a NUL byte each, written before it is made
//! journal/backup.N   what was in a file that is written to in its place
//! journal/plan       the steps, complete or not there: the journal is sealed
//! ```
//!
//! Without a plan what was made is removed, and all is as it was. With one the steps are carried out, however often it takes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use mica_vfs::Errno;

use super::plan::{Plan, VERSION};
use crate::offline::Node;

const MADE: &str = "made";
const PLAN: &str = "plan";
const PLAN_NEW: &str = "plan.new";

/// The directory.
#[derive(Debug)]
pub(super) struct Journal {
    dir: PathBuf,
    backups: u64,
}

impl Journal {
    /// Takes the directory, which need not be there.
    pub(super) fn at(dir: PathBuf) -> Self {
        Self { dir, backups: 0 }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes it.
    pub(super) fn begin(&self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.dir)
    }

    /// Reads the plan, if it is sealed.
    pub(super) fn sealed(&self) -> io::Result<Option<Plan>> {
        let bytes = match fs::read(self.dir.join(PLAN)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let plan: Plan = serde_json::from_slice(&bytes)?;
        if plan.version != VERSION {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(Some(plan))
    }

    /// Lists what was being made.
    pub(super) fn made(&self) -> io::Result<Vec<PathBuf>> {
        let bytes = match fs::read(self.dir.join(MADE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        // Of a record without an end nothing was made.
        let end = bytes.iter().rposition(|&byte| byte == 0).unwrap_or(0);
        let paths = bytes.get(..end).unwrap_or_default().split(|&b| b == 0);
        let paths = paths.filter(|path| !path.is_empty());
        Ok(paths
            .map(|path| std::ffi::OsString::from_vec(path.to_vec()).into())
            .collect())
    }

    /// Notes what is about to be made.
    pub(super) fn note(&self, path: &Path) -> io::Result<()> {
        let mut record = path.as_os_str().as_bytes().to_vec();
        record.push(0);
        let mut options = File::options();
        let mut file = options
            .append(true)
            .create(true)
            .open(self.dir.join(MADE))?;
        file.write_all(&record)?;
        // Where the power fails what is made may be on disk: so is this.
        file.sync_data()
    }

    /// Keeps what is in a file.
    pub(super) fn back_up(&mut self, node: &Node) -> io::Result<()> {
        self.backups += 1;
        let path = self.dir.join(format!("backup.{}", self.backups));
        let mut to = File::options().write(true).create_new(true).open(path)?;
        let mut block = vec![0; 1 << 16];
        let mut at = 0;
        loop {
            let read = node.fs().read(node.id(), at, &mut block)?;
            if read == 0 {
                return to.sync_all();
            }
            to.write_all(block.get(..read).unwrap_or_default())?;
            at += read as u64;
        }
    }

    /// Puts the plan on disk, then gives it its name: from here on it is carried out.
    pub(super) fn seal(&self, plan: &Plan) -> io::Result<()> {
        let new = self.dir.join(PLAN_NEW);
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(plan)?)?;
        file.sync_all()?;
        fs::rename(new, self.dir.join(PLAN))?;
        File::open(&self.dir)?.sync_all()
    }

    /// Removes it, the plan first: a half-removed one says nothing.
    pub(super) fn remove(&self) -> Result<(), Errno> {
        let remove = || -> io::Result<()> {
            match fs::remove_file(self.dir.join(PLAN)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            match fs::remove_dir_all(&self.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        };
        remove().map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}
