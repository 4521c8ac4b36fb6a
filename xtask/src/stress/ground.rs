//! Where a stress runs: a mount on a fresh disk.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::driver::{Driver, Mounted, Stack};
use crate::dump::{self, Dump, Lens};
use crate::image::Scratch;
use crate::oracle::layout;

/// A mount, its layers, and the disk under them.
pub(super) struct Ground {
    pub(super) stack: Stack,
    pub(super) point: PathBuf,
    pristine: Dump,
    mounted: Option<Mounted>,
    /// Unmounted last.
    _disk: Scratch,
}

impl Ground {
    /// Mounts by `driver` over a lower that `text` describes.
    pub(super) fn new(driver: &Driver, text: &str) -> Result<Self> {
        let disk = Scratch::ext4(2048)?;
        let stack = Stack::below(disk.path())?;
        layout::write(text, stack.lower()?)?;
        let pristine = dump::read(stack.lower()?)?;
        let point = stack.point();
        let mounted = driver.mount(&stack, &point)?;
        Ok(Self {
            stack,
            point,
            pristine,
            mounted: Some(mounted),
            _disk: disk,
        })
    }

    /// Returns a path in the mount.
    pub(super) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.point.join(name)
    }

    /// Unmounts, and looks at what is left by `driver` and by the kernel: the same tree as `seen`, and the lower as it was.
    pub(super) fn settle(&mut self, driver: &Driver, seen: &Dump) -> Result<()> {
        if let Some(mounted) = self.mounted.take() {
            mounted.unmount()?;
        }
        for reader in [driver, &Driver::Kernel] {
            let mounted = reader.mount(&self.stack, &self.point)?;
            let mut again = dump::read(&self.point)?;
            mounted.unmount()?;
            let mut before = seen.clone();
            // Links of a lower file are one file for the life of one mount only.
            for dump in [&mut before, &mut again] {
                dump.values_mut().for_each(|node| node.nlink = 0);
            }
            let names = ("before the unmount", reader.name());
            let lines = dump::compare(&before, &again, names, Lens::default());
            dump::expect_none("after a remount", &lines)?;
        }
        for lower in &self.stack.lowers {
            let names = ("the lower before", "the lower after");
            let lines = dump::compare(&self.pristine, &dump::read(lower)?, names, Lens::default());
            ensure!(lines.is_empty(), "{}", lines.join("\n"));
        }
        let work = self.stack.work.join("work");
        let left = std::fs::read_dir(&work)
            .with_context(|| format!("cannot list {}", work.display()))?
            .count();
        ensure!(left == 0, "{left} objects are left in the work directory");
        Ok(())
    }
}
