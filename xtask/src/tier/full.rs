//! An upper that is full, out of inodes or over its quota.
//!
//! The same calls on the bare filesystem, on kernel overlayfs and on the subject: the same errno at the same write(2)
//! (OVL-85). After each refusal the view is what it was, the work directory is empty, and what was written is there: through
//! the mount, again after the page cache let go of it, and in the upper.

mod ground;
mod mapping;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, FallocateFlags, RenameFlags, fadvise};
use rustix::io::Errno;

use self::ground::{Ground, Kind};
use crate::driver::{Driver, Subject};
use crate::dump::{self, Dump, Lens};
use crate::repo::Profile;
use crate::tier::kill::deed::{Data, Deed, Done};

/// Runs every scenario.
pub(crate) fn full(subject: Subject) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let driver = subject.driver(Profile::Dev)?;
    writes(&driver)?;
    for kind in [Kind::Space, Kind::Inodes, Kind::Quota] {
        changes(&driver, kind).with_context(|| format!("{kind:?}"))?;
    }
    if driver == Driver::Kernel {
        // It kills whoever stores into a page that has no place.
        return Ok(());
    }
    mapping::stores(&driver)
}

/// What writes returned, one after the other.
type Trace = Vec<Result<usize, Errno>>;

/// Writes that grow a file until nothing fits any more.
fn writes(driver: &Driver) -> Result<()> {
    let mut traces: Vec<(&str, Trace)> = Vec::new();
    for who in [None, Some(&Driver::Kernel), Some(driver)] {
        let ground = Ground::new(Kind::Space, who)?;
        let name = who.map_or("the bare filesystem", Driver::name);
        let trace = write_until_full(&ground).with_context(|| format!("on {name}"))?;
        let done: usize = trace.iter().flatten().sum();
        println!(
            "full: {name}: {} writes, {done} bytes, then {}",
            trace.len(),
            show(trace.last())
        );
        traces.push((name, trace));
        ground.end()?;
    }
    for pair in traces.windows(2) {
        if let [(left, a), (right, b)] = pair {
            ensure!(a == b, "writes differ:\n  {left}: {a:?}\n  {right}: {b:?}");
        }
    }
    let ground = Ground::new(Kind::Quota, Some(driver))?;
    let trace = write_until_full(&ground).context("over a quota")?;
    ensure!(
        trace.last() == Some(&Err(Errno::DQUOT)),
        "over a quota a write gives {}",
        show(trace.last())
    );
    let done: usize = trace.iter().flatten().sum();
    println!("full: a quota: {done} bytes, then {}", show(trace.last()));
    ground.end()
}

fn show(result: Option<&Result<usize, Errno>>) -> String {
    result.map_or("nothing".to_owned(), |result| format!("{result:?}"))
}

/// Writes blocks of uneven lengths, and reads back what was taken of them.
fn write_until_full(ground: &Ground) -> Result<Trace> {
    let path = ground.root().join("file");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    // The first block of the file and of its directory are there, so all that is left is for data.
    file.write_all_at(b"x", 0)?;
    file.sync_all()?;
    ground.leave(1000)?;
    let mut expected = b"x".to_vec();
    let mut trace = Trace::new();
    let mut refused = 0;
    for len in [12_388, 300_000, 1_500_000, 70_000].into_iter().cycle() {
        let data = Data::new(u64::try_from(trace.len())?, len).bytes();
        let written = rustix::io::pwrite(&file, &data, u64::try_from(expected.len())?);
        if let Ok(count) = written {
            expected.extend_from_slice(data.get(..count).context("more than was given")?);
        } else {
            refused += 1;
        }
        trace.push(written);
        if refused == 4 {
            break;
        }
    }
    expect_content(ground, &path, &expected)?;
    let keep_size = FallocateFlags::KEEP_SIZE;
    let allocated = rustix::fs::fallocate(&file, keep_size, 0, 1 << 27);
    ensure!(
        matches!(allocated, Err(Errno::NOSPC | Errno::DQUOT)),
        "fallocate on a full disk gives {allocated:?}"
    );
    expect_content(ground, &path, &expected)?;
    // With space again the next write goes on where the last ended.
    ground.free()?;
    let more = Data::new(99, 100_000).bytes();
    rustix::io::pwrite(&file, &more, u64::try_from(expected.len())?).context("with space again")?;
    expected.extend_from_slice(&more);
    expect_content(ground, &path, &expected)?;
    Ok(trace)
}

/// Reads a file through the mount, from the server, and from the upper.
fn expect_content(ground: &Ground, path: &Path, expected: &[u8]) -> Result<()> {
    let check = |whence: &str, path: &Path| -> Result<()> {
        let found = std::fs::read(path)?;
        let same = found
            .iter()
            .zip(expected)
            .take_while(|(a, b)| a == b)
            .count();
        ensure!(
            found == expected,
            "{whence}: {} bytes, {} were taken, the first {same} are equal",
            found.len(),
            expected.len()
        );
        Ok(())
    };
    check("from the cache", path)?;
    let file = File::open(path)?;
    file.sync_all()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    check("without the cache", path)?;
    check("in the upper", &ground.beneath(path)?)
}

/// Every change of names, attributes and data, each alone on a disk that takes no more.
fn changes(driver: &Driver, kind: Kind) -> Result<()> {
    let ground = Ground::new(kind, Some(driver))?;
    let refusal = kind.refusal();
    ground.fill()?;
    let (mut fitted, mut refused) = (0, 0);
    let mut again = Vec::new();
    for deed in deeds() {
        let before = view(&ground)?;
        match deed.apply(ground.root()) {
            Ok(Done::Whole) => fitted += 1,
            Ok(Done::Part(_)) => again.push(deed.clone()),
            Err(errno) if errno == refusal => {
                refused += 1;
                let after = view(&ground)?;
                let lens = Lens::default();
                let lines = dump::compare(&before, &after, ("before", "after"), lens);
                ensure!(
                    lines.is_empty(),
                    "{deed:?} was refused, and yet:\n  {}",
                    lines.join("\n  ")
                );
                again.push(deed.clone());
            }
            Err(errno) => anyhow::bail!("{deed:?} fails with {errno}, not {refusal}"),
        }
        ground
            .expect_clean_work()
            .with_context(|| format!("after {deed:?}"))?;
    }
    println!("full: {kind:?}: of single changes {fitted} still fitted, {refused} got {refusal}");
    ensure!(refused > 0, "nothing was refused");
    ground.free()?;
    for deed in again {
        let done = deed.apply(ground.root());
        ensure!(
            done == Ok(Done::Whole),
            "with space again {deed:?} gives {done:?}"
        );
    }
    let here = view(&ground)?;
    ground.expect_clean_work()?;
    ground.compare_with_kernel(&here)?;
    ground.end()
}

/// Reads the tree, without what a change that was undone may leave on a directory.
fn view(ground: &Ground) -> Result<Dump> {
    let mut dump = dump::read(ground.root())?;
    dump::plain(&mut dump);
    Ok(dump)
}

/// One change of each kind, of objects that no other touches.
fn deeds() -> Vec<Deed> {
    let at = |name: &str| name.to_owned();
    vec![
        Deed::Chmod(at("big"), 0o600),
        Deed::Write(at("d/big"), 5, Data::new(1, 10)),
        Deed::Append(at("d/a"), Data::new(2, 300_000)),
        Deed::Truncate(at("d/long"), 200_000),
        Deed::Setxattr(at("d/b"), "user.note", Data::new(3, 3000)),
        Deed::Setxattr(at("upper"), "user.note", Data::new(3, 3000)),
        Deed::Link(at("d/c"), at("d/linked")),
        Deed::Rename(at("d/moved"), at("e/moved"), RenameFlags::empty()),
        Deed::Rename(at("d/x"), at("d/y"), RenameFlags::EXCHANGE),
        Deed::Mkdir(at("newdir"), 0o755),
        Deed::Create(at("new"), 0o644),
        Deed::Symlink("t".repeat(300), at("newlink")),
        Deed::Fifo(at("newfifo")),
        Deed::TmpfileLink(at("e"), at("e/tmp"), Data::new(4, 9000)),
        Deed::Unlink(at("f/gone")),
        Deed::Rmdir(at("f/empty")),
        Deed::Chown(at("l"), 1000, 1000),
        Deed::Chown(at("g"), 1000, 1000),
        Deed::Allocate(at("d/alloc"), FallocateFlags::empty()),
    ]
}
