//! The server is killed while dpkg installs; afterwards an administrator can finish, and every file is what its package says.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::PATIENCE;
use crate::driver::{Driver, Stack};
use crate::image::Scratch;
use crate::repo;
use crate::rng::Rng;
use crate::run::quiet;
use crate::tier::debian::bootstrapped_root;

/// Kills of a run of dpkg.
const KILLS: u64 = 20;
/// What is installed over itself: many files, links, directories and scripts in little time.
const PACKAGES: &str =
    "coreutils findutils grep gzip hostname login passwd sed tar tzdata util-linux";

/// Kills the server of a Debian system.
pub(crate) fn debian(driver: &Driver, rng: &mut Rng) -> Result<()> {
    let start = Instant::now();
    let disk = Scratch::ext4(2048)?;
    let system = System::new(disk.path())?;
    // What the release itself gets wrong is not held against the mount.
    let expected = system.on(driver, "verify")?;
    let mut interrupted = 0_u64;
    for round in 0..KILLS {
        let mut mounted = driver.mount(&system.stack, &system.point)?;
        let mut dpkg = system.start("work", Stdio::null())?;
        std::thread::sleep(Duration::from_millis(rng.below(2500)));
        mounted.kill_server()?;
        wait(&mut dpkg)?;
        mounted
            .remove_dead(driver)
            .context("removing the dead mount")?;
        let readers = if round.is_multiple_of(2) {
            [driver, &Driver::Kernel]
        } else {
            [&Driver::Kernel, driver]
        };
        let [first, second] = readers;
        if !system.on(first, "audit")?.is_empty() {
            interrupted = interrupted.saturating_add(1);
        }
        system
            .on(first, "repair")
            .with_context(|| format!("repairing on {} after kill {round}", first.name()))?;
        for reader in [first, second] {
            let found = system.on(reader, "verify")?;
            ensure!(
                found == expected,
                "dpkg finds damage on {} after kill {round}:\n{found}\nexpected:\n{expected}",
                reader.name()
            );
        }
    }
    println!(
        "kill: {KILLS} kills of a Debian system in {} s; {interrupted} left dpkg with something to finish",
        start.elapsed().as_secs()
    );
    ensure!(interrupted > 0, "no kill interrupted dpkg");
    Ok(())
}

/// A Debian system on an overlay.
struct System {
    stack: Stack,
    point: PathBuf,
    archives: PathBuf,
}

impl System {
    fn new(base: &Path) -> Result<Self> {
        let stack = Stack::over(vec![bootstrapped_root()?], base)?;
        let system = Self {
            point: stack.point(),
            stack,
            archives: repo::cache_dir("debian/kill")?,
        };
        let there = std::fs::read_dir(&system.archives)?
            .filter_map(Result::ok)
            .any(|entry| entry.path().extension().is_some_and(|end| end == "deb"));
        if !there {
            println!("kill: fetching packages");
            std::fs::create_dir_all(system.archives.join("partial"))?;
            system.on(&Driver::Kernel, "download")?;
        }
        Ok(system)
    }

    /// Mounts by `driver`, runs one part of the script, and unmounts; returns what it wrote.
    fn on(&self, driver: &Driver, part: &str) -> Result<String> {
        let mounted = driver.mount(&self.stack, &self.point)?;
        let text = quiet(&mut self.command(part))?;
        mounted.unmount()?;
        Ok(text)
    }

    fn start(&self, part: &str, out: Stdio) -> Result<Child> {
        self.command(part)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start dpkg")
    }

    fn command(&self, part: &str) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--propagation", "private", "sh", "-c"])
            .arg(include_str!("debian.sh"))
            .arg("debian.sh")
            .arg(&self.point)
            .arg(&self.archives)
            .args([part, PACKAGES]);
        command
    }
}

/// Waits for whoever used the mount: nobody may hang.
fn wait(child: &mut Child) -> Result<()> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            bail!("dpkg still runs {PATIENCE:?} after the server was killed");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
