//! Would a mount work, with which driver, and if not why and what to do.
//!
//! Both drivers are judged by what is found out about the machine, the options and the directories. For Mica that is what
//! `mica mount` does, up to the mount ([`Stack::examine`](crate::Stack), `mount::examine`), so both say the same words. For the
//! kernel it is a model of what fs/overlayfs checks (`kernel`), as the kernel itself answers most questions by `EINVAL`, and
//! some by nothing at all. The cases have names, in one table (`rows`).
//!
//! # Invariants
//!
//! - Nothing is mounted, and no layer is changed. In the work directory the probe makes and removes scratch files, as a mount
//!   does.
//! - Judging is apart from looking, so that a test can judge a machine that is not there.

mod asked;
mod depth;
mod finding;
mod kernel;
mod kernel_upper;
mod layers;
mod machine;
mod marks;
mod mica;
mod remains;
mod rows;

use std::ffi::OsStr;

use crate::options::for_filesystem;
use crate::stack::{LayerDir, Role};

use asked::Asked;
pub use finding::{Driver, Finding, Verdict};
use layers::Layers;
use machine::Machine;
use marks::{Digests, Follows};
pub use rows::{ROWS, Reaction, Row};

/// What was looked at, and what it means for each driver.
#[derive(Debug)]
pub struct Diagnosis {
    /// What was looked at: names and what was found, for people.
    pub seen: Vec<(&'static str, String)>,
    /// What is wrong for the kernel's overlayfs.
    pub kernel: Vec<Finding>,
    /// What is wrong for Mica.
    pub mica: Vec<Finding>,
}

impl Diagnosis {
    /// Looks at this machine and, if there are any, at what the arguments of all `-o` of a mount name. Programs are looked
    /// for in `path`.
    #[must_use]
    pub fn make<S: AsRef<OsStr>>(options: &[S], path: &OsStr) -> Self {
        let machine = Machine::probe();
        let mut seen = machine.seen();
        if options.is_empty() {
            return Self {
                seen,
                kernel: machine.judge().into_iter().collect(),
                mica: mica::judge_machine(path),
            };
        }
        let mut kernel: Vec<Finding> = machine.judge().into_iter().collect();
        match for_filesystem(options) {
            Ok(written) => {
                let mut asked = Asked::of(&written, &machine);
                let layers = Layers::look(&asked);
                seen.extend(layers.seen());
                kernel.append(&mut asked.findings);
                kernel.extend(kernel::judge(&asked, &machine, &layers));
                kernel.extend(marks::judge(&named(&layers), followed(&asked, &machine)));
            }
            Err(error) => {
                let hint = error.hint();
                kernel.push(Finding::of_kernel(&rows::BAD_VALUE, error, hint));
            }
        }
        let mica = mica::judge(options, path);
        // The kernel takes an upper with marks that it does not read, and says nothing.
        let unread = [&rows::FOREIGN, &rows::INDEX_LEFT];
        for finding in mica.iter().filter(|finding| unread.contains(&finding.row)) {
            let hint = finding.hint.clone().unwrap_or_default();
            kernel.push(Finding::kernel(
                finding.row,
                finding.error.to_string(),
                hint,
            ));
        }
        Self { seen, kernel, mica }
    }

    /// Returns what was found for a driver.
    #[must_use]
    pub fn findings(&self, driver: Driver) -> &[Finding] {
        match driver {
            Driver::Kernel => &self.kernel,
            Driver::Mica => &self.mica,
        }
    }

    /// Returns whether a driver would mount: the worst that was found.
    #[must_use]
    pub fn verdict(&self, driver: Driver) -> Verdict {
        let verdicts = self.findings(driver).iter().map(|finding| finding.verdict);
        verdicts.max().unwrap_or(Verdict::Works)
    }
}

/// Returns the layers with names, topmost first, and after them those of data.
fn named(layers: &Layers) -> Vec<LayerDir> {
    let all = layers.open();
    all.filter(|(dir, _)| dir.role != Role::Work)
        .map(|(dir, _)| dir.clone())
        .collect()
}

fn followed(asked: &Asked, machine: &Machine) -> Follows {
    Follows {
        userxattr: asked.userxattr,
        redirects: asked.follows(machine),
        metacopy: asked.is_on("metacopy", machine),
        digests: match asked.value("verity") {
            Some("require") => Digests::Required,
            Some("on") => Digests::Checked,
            _ => Digests::Ignored,
        },
    }
}

#[cfg(test)]
mod tests;
