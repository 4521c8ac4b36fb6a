//! One side of a comparison: a copy of the layers, and whoever overlays it at the moment.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Options;
use super::ground::rights_of_this_process;
use super::handle::{self, Names};
use super::layout::{self, Layout, Rights};
use super::purity;
use crate::driver::{Driver, Mounted, Server, Stack};
use crate::dump::{self, Dump, Faults, Lens, PROTECTING};
use crate::image::make_open;

/// The directories of a layout in which it is repeated, so that there are fresh objects after many operations.
pub(super) const PARTS: [&str; 6] = ["0", "1", "2", "3", "4", "5"];

/// One side.
#[derive(Debug)]
pub(super) struct Side {
    pub(super) driver: Driver,
    stack: Stack,
    mounted: Option<Mounted>,
    plant: Option<String>,
    /// Where the server notes which rules took effect.
    met: Option<PathBuf>,
    /// Inode numbers in the order in which they were seen.
    seen: HashMap<u64, usize>,
    lowers: Vec<Dump>,
    /// What the handles in the upper may point at.
    names: Names,
    /// What this process may.
    rights: Rights,
}

impl Side {
    /// Writes the layers of `layout` below `dir`, which is emptied first.
    pub(super) fn new(
        driver: Driver,
        layout: &Layout,
        options: &Options,
        dir: &Path,
    ) -> Result<Self> {
        empty(dir)?;
        let lowers =
            (0..layout.lowers.len()).map(|index| make_open(&dir.join(format!("lower{index}"))));
        let mut stack = Stack::over(lowers.collect::<Result<_>>()?, dir)?;
        stack.options = options.set.options.to_owned();
        let rights = options.layer_rights();
        for (text, lower) in layout.lowers.iter().zip(&stack.lowers) {
            layout::write_parts(text, &PARTS, rights, lower)?;
        }
        layout::write_parts(layout.upper, &PARTS, rights, &stack.upper)?;
        for (index, text) in layout.data.iter().enumerate() {
            let dir = make_open(&dir.join(format!("data{index}")))?;
            layout::write_parts(text, &PARTS, rights, &dir)?;
            stack.data.push(dir);
        }
        let lowers = stack
            .lowers
            .iter()
            .chain(&stack.data)
            .map(|lower| dump::read(lower))
            .collect::<Result<Vec<_>>>()?;
        let mut names = Names::new();
        for (index, dump) in lowers.iter().enumerate() {
            handle::add(&mut names, &format!("lower{index}"), dump);
        }
        Ok(Self {
            driver,
            stack,
            mounted: None,
            plant: options.plant.clone(),
            met: options.met.clone(),
            seen: HashMap::new(),
            lowers,
            names,
            rights: rights_of_this_process()?,
        })
    }

    /// Returns where the tree is.
    pub(super) fn point(&self) -> PathBuf {
        self.stack.point()
    }

    /// Mounts.
    pub(super) fn mount(&mut self) -> Result<()> {
        let server = Server {
            plant: self.plant.as_deref(),
            // Refusals that the kernel makes, too, would fill the screen.
            log_level: Some("error"),
            met: self.met.as_deref(),
            ..Server::default()
        };
        let mounted = self
            .driver
            .mount_as(&self.stack, &self.point(), server)
            .with_context(|| format!("{} does not mount", self.driver.name()))?;
        super::watch::set(self.driver.name(), mounted.server_pid());
        self.mounted = Some(mounted);
        Ok(())
    }

    /// Lets the kernel meet the upper first, where there is something in it (D-11).
    pub(super) fn introduce(&mut self) -> Result<()> {
        let mounted = Driver::Kernel.mount(&self.stack, &self.point())?;
        dump::read_with(&self.point(), Faults::Shown)?;
        mounted.unmount()
    }

    /// Unmounts.
    pub(super) fn unmount(&mut self) -> Result<()> {
        let Some(mounted) = self.mounted.take() else {
            return Ok(());
        };
        super::watch::set(self.driver.name(), None);
        if self.rights != Rights::All {
            // The kernel's numbers are others at the next mount (D-33).
            self.seen.clear();
        }
        mounted
            .unmount()
            .with_context(|| format!("{} does not unmount", self.driver.name()))
    }

    /// Reads the tree at `path` through the mount.
    pub(super) fn look(&self, path: &str) -> Result<Dump> {
        dump::read_with(&self.point().join(path), Faults::Shown)
    }

    /// Forgets which numbers were seen: objects went, and others may get theirs.
    pub(super) fn forget_numbers(&mut self) {
        self.seen.clear();
    }

    /// Returns the inode number's place in the order in which numbers were seen on this side.
    pub(super) fn place(&mut self, number: u64) -> usize {
        let next = self.seen.len();
        *self.seen.entry(number).or_insert(next)
    }

    /// Replaces each `#NUMBER` in what a worker said by its place.
    pub(super) fn number(&mut self, said: &str) -> String {
        let Some((head, number)) = said.rsplit_once('#') else {
            return said.to_owned();
        };
        match number.parse() {
            Ok(number) => format!("{head}#{}", self.place(number)),
            Err(_) => said.to_owned(),
        }
    }

    /// Reads upper and work from the disk, with handles as names.
    pub(super) fn disk(&self) -> Result<Dump> {
        let mut upper = dump::read(&self.stack.upper)?;
        purity::leave_out(&mut upper, self.rights);
        let work = dump::read(&self.stack.work)?;
        let mut names = self.names.clone();
        handle::add(&mut names, "upper", &upper);
        let mut all = Dump::new();
        for (root, dump) in [("upper", upper), ("work", work)] {
            for (path, mut node) in dump {
                let temporary = root == "work"
                    && path
                        .file_name()
                        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"#"));
                // The whiteout that the next ones will be links of (D-12).
                if temporary && node.is_whiteout() {
                    continue;
                }
                // Mica's is its own to enter, also where it has no rights over others' (D-13).
                if root == "work" && path == Path::new("work") {
                    node.mode = 0;
                }
                for (name, value) in &mut node.xattrs {
                    // In a user namespace the kernel's say nothing (D-33).
                    if self.rights != Rights::All && name.ends_with(".origin") {
                        value.clear();
                    }
                    if [".origin", ".upper"].iter().any(|end| name.ends_with(end)) {
                        *value = handle::name(value, &names);
                    }
                }
                let path = Path::new(root).join(path);
                let path = if path.starts_with("work/index") {
                    handle::name_entry(path, &names)
                } else {
                    path
                };
                all.insert(path, node);
            }
        }
        Ok(all)
    }

    /// Returns what `mica check`, the `program`, has against the layers; notes do not count.
    pub(super) fn check(&self, program: &Path) -> Result<Vec<String>> {
        let output = Command::new(program)
            .args(["check", "-o", &self.stack.mount_options()])
            .output()
            .context("cannot start `mica check`")?;
        if output.status.success() {
            return Ok(Vec::new());
        }
        let text = [output.stdout, output.stderr].concat();
        let lines = String::from_utf8_lossy(&text);
        Ok(lines.lines().map(|line| format!("check: {line}")).collect())
    }

    /// Names what changed in the lowers: nothing may.
    pub(super) fn changed_lowers(&self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let layers = self.stack.lowers.iter().chain(&self.stack.data);
        for (before, lower) in self.lowers.iter().zip(layers) {
            let sides = ("the lower before", "the lower after");
            lines.extend(dump::compare(
                before,
                &dump::read(lower)?,
                sides,
                Lens::default(),
            ));
        }
        Ok(lines)
    }
}

/// Removes a tree, also files that a flag protects.
fn empty(dir: &Path) -> Result<()> {
    if !dir.exists() || std::fs::remove_dir_all(dir).is_ok() {
        return Ok(());
    }
    clear_flags(dir)?;
    std::fs::remove_dir_all(dir).with_context(|| format!("cannot empty {}", dir.display()))
}

fn clear_flags(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() || kind.is_file() {
            let file = std::fs::File::open(entry.path())?;
            // A filesystem without flags has nothing to clear.
            if let Ok(flags) = rustix::fs::ioctl_getflags(&file) {
                rustix::fs::ioctl_setflags(&file, flags.difference(PROTECTING))?;
            }
        }
        if kind.is_dir() {
            clear_flags(&entry.path())?;
        }
    }
    Ok(())
}
