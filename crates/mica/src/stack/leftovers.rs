//! What a mount before this one left in the work directory. The overlay removes it (OVL-50); here it is counted.

use mica_overlay::Upper;
use mica_vfs::{Cookie, Errno, FileName, FileType, Flow};

use super::error::LayerDir;
use super::warning::StackWarning;

/// Warns of unfinished changes in the work directory. What cannot be read is left to the overlay to report.
pub(super) fn warn_of_leftovers(work: &LayerDir, upper: &Upper, warnings: &mut Vec<StackWarning>) {
    if let Ok(count @ 1..) = count(upper) {
        let work = work.clone();
        warnings.push(StackWarning::Leftovers { work, count });
    }
}

fn count(upper: &Upper) -> Result<usize, Errno> {
    let fs = &*upper.layer.fs;
    let dir = fs.lookup(upper.work, FileName::new(b"work")?)?;
    let mut count = 0;
    let read = if dir.attr.kind == FileType::Directory {
        fs.read_dir(dir.node, Cookie::START, &mut |entry| {
            // `incompat` is no change, and the overlay's to judge.
            count += usize::from(entry.name.as_bytes() != b"incompat");
            Flow::Continue
        })
    } else {
        Ok(())
    };
    fs.forget(dir.node, 1);
    read.map(|()| count)
}
