//! A mount whose users and server share too little memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ground::{Ground, can_mount, ok, run, skipped};

/// What server and users may have together, page cache included.
const LIMIT: &str = "50331648";

/// A memory cgroup, removed when dropped.
#[derive(Debug)]
struct Group(PathBuf);

impl Group {
    /// Makes one, of version 1 or 2. `None`: this machine does not let us.
    fn new() -> Option<Self> {
        let name = format!("mica-test-{}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        if v1.join("memory.limit_in_bytes").exists() {
            let group = Self(v1.join(name));
            fs::create_dir(&group.0).ok()?;
            fs::write(group.0.join("memory.limit_in_bytes"), LIMIT).ok()?;
            return Some(group);
        }
        let v2 = Path::new("/sys/fs/cgroup");
        fs::write(v2.join("cgroup.subtree_control"), "+memory").ok()?;
        let group = Self(v2.join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join("memory.max"), LIMIT).ok()?;
        Some(group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Who is still in it goes back to the root.
        let pids = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.lines() {
            fs::write(self.0.with_file_name("cgroup.procs"), pid).ok();
        }
        fs::remove_dir(&self.0).ok();
    }
}

/// Dirties every page of a file through a shared mapping, twice, and checks what it reads back.
const DIRTY: &str = r"
import mmap, os, sys
size, page = 96 << 20, 4096
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, size)
with mmap.mmap(fd, size) as m:
    for turn in (1, 2):
        for at in range(0, size, page):
            m[at:at + 8] = (at * turn).to_bytes(8, 'little')
    m.flush()
os.fsync(fd)
with open(sys.argv[2], 'rb') as f:
    for at in range(0, size, page):
        f.seek(at)
        assert f.read(8) == (at * 2).to_bytes(8, 'little'), at
";

#[test]
fn a_mount_survives_memory_pressure() {
    let test = "a_mount_survives_memory_pressure";
    if !can_mount(test) {
        return;
    }
    if run(Command::new("sh").args(["-c", "command -v python3"])).status != Some(0) {
        skipped(test, "needs python3");
        return;
    }
    let Some(group) = Group::new() else {
        skipped(test, "needs a memory cgroup");
        return;
    };
    let ground = Ground::new();
    let pattern: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[1]).collect();
    fs::write(ground.at("l/big"), pattern.repeat(96)).unwrap();
    let enter = format!("echo $$ > {}/cgroup.procs", group.0.display());
    let script = format!(
        "{enter} && $MICA mount -o lowerdir=l,upperdir=u,workdir=w,userxattr m && \
         (python3 -c \"$DIRTY\" m/mapped u/mapped & mapped=$!; \
          echo x >> m/big && cat m/big > m/copy && cmp m/big m/copy && wait $mapped)"
    );
    let mut shell = Command::new("sh");
    shell.args(["-ec", &script]).env("DIRTY", DIRTY);
    shell.env("MICA", env!("CARGO_BIN_EXE_mica"));
    assert_eq!(run(ground.here(&mut shell)), ok());
    // What is on disk is what was written, and the server was there to the end.
    let copy = fs::read(ground.at("u/copy")).unwrap();
    let (data, end) = copy.split_at(96 << 20);
    assert!(data.chunks(1 << 20).all(|chunk| chunk == pattern) && end == b"x\n");
    ground.unmount("m");
}
