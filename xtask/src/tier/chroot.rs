//! What programs make of a Debian tree in a session that is committed is what they make of one in a chroot.
//!
//! There are two trees, A and B, copies of one. The same script runs in A, in a chroot, and in B, in `mica do --lower`, whose
//! session then is committed: by root, by an ordinary user, and by him as root of his session. Each time A equals B, but for
//! what `allowed.rs` lists.

mod allowed;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use self::allowed::Ids;
use crate::driver::Subject;
use crate::dump::{self, Lens};
use crate::image::{Scratch, make_open};
use crate::private;
use crate::repo::Profile;
use crate::run::{quiet, run};
use crate::tier::debian::kept_root;

/// The packages of the trees, beside what every Debian has.
const PACKAGES: &str = "build-essential,python3-venv,git,postgresql";
/// Who works, and how.
const WHO: [Who; 3] = [Who::Root, Who::Worker, Who::AsRoot];
/// The user of the trees.
const WORKER: u32 = 1000;
/// The range of ids that he has outside when he is root of a session.
const RANGE: u32 = 100_000;

/// Who works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Root, in a session of root's.
    Root,
    /// An ordinary user, with the one id that he has.
    Worker,
    /// The same one as root of his session, with a range of ids. Root commits it: the tree is root's.
    AsRoot,
}

impl Who {
    fn word(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Worker => "worker",
            Self::AsRoot => "as-root",
        }
    }

    /// How his ids outside are shown inside.
    fn ids(self) -> Ids {
        match self {
            Self::AsRoot => Ids::Range {
                own: WORKER,
                first: RANGE,
            },
            Self::Root | Self::Worker => Ids::Same,
        }
    }
}

/// Runs the script in both trees, for each user.
pub(crate) fn chroot(subject: Subject) -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let program = subject.with_sessions(Profile::Release)?;
    let base = furnished_root()?;
    let disk = Scratch::ext4(12 * 1024)?;
    let ground = Ground::new(disk.path(), &program, &base)?;
    for who in WHO {
        ground
            .compare_work_of(who)
            .with_context(|| who.word().to_owned())?;
    }
    Ok(())
}

/// The two trees, and who reaches them.
struct Ground {
    direct: PathBuf,
    committed: PathBuf,
    /// A copy that everybody may run.
    program: PathBuf,
    /// Where the user has his sessions, and root.
    state: PathBuf,
    root_state: PathBuf,
    /// Files that are put over those of the machine.
    over: PathBuf,
    /// When they were made: times from here on are "now".
    now: i64,
}

impl Ground {
    fn new(disk: &Path, program: &Path, base: &Path) -> Result<Self> {
        let start = Instant::now();
        let ground = Self {
            now: dump::now()?,
            direct: disk.join("A"),
            committed: disk.join("B"),
            program: disk.join("mica"),
            state: make_open(&disk.join("state"))?,
            root_state: disk.join("root-state"),
            over: make_open(&disk.join("over"))?,
        };
        std::fs::copy(program, &ground.program).context("cannot copy the program")?;
        for tree in [&ground.direct, &ground.committed] {
            quiet(Command::new("cp").arg("-a").arg(base).arg(tree))?;
            let script = tree.join("given/work.sh");
            std::fs::write(script, include_str!("chroot/work.sh")).context("the script")?;
        }
        std::os::unix::fs::chown(&ground.state, Some(WORKER), Some(WORKER))?;
        make_open(&ground.root_state)?;
        private::open_fuse(&ground.over)?;
        // Without it the user has one id.
        ground.sub_ids("")?;
        println!("chroot: two trees in {} s", start.elapsed().as_secs());
        Ok(ground)
    }

    /// Says which ranges of ids the users of the machine have.
    fn sub_ids(&self, text: &str) -> Result<()> {
        for name in ["subuid", "subgid"] {
            let file = self.over.join(name);
            let there = file.exists();
            std::fs::write(&file, text).context("the ids")?;
            if !there {
                private::bind(&file, &Path::new("/etc").join(name))?;
            }
        }
        Ok(())
    }

    fn compare_work_of(&self, who: Who) -> Result<()> {
        let start = Instant::now();
        self.work_directly(who).context("in the chroot")?;
        let direct = start.elapsed();
        let start = Instant::now();
        self.work_in_a_session(who).context("in the session")?;
        let session = start.elapsed();
        let start = Instant::now();
        self.commit(who).context("committing")?;
        println!(
            "chroot: {}: {:.1} s in the chroot, {:.1} s in the session, {:.1} s to commit",
            who.word(),
            direct.as_secs_f64(),
            session.as_secs_f64(),
            start.elapsed().as_secs_f64()
        );
        self.expect_same(who)
    }

    fn work_directly(&self, who: Who) -> Result<()> {
        let user = match who {
            Who::Worker => format!("{WORKER}:{WORKER}"),
            Who::Root | Who::AsRoot => "0:0".to_owned(),
        };
        let script = r#"mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"
            exec chroot --groups= --userspec="$1" "$0" /usr/bin/env -i /bin/sh /given/work.sh "$2""#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec"]);
        run(command
            .arg(script)
            .arg(&self.direct)
            .args([&user, who.word()]))
    }

    fn work_in_a_session(&self, who: Who) -> Result<()> {
        if who == Who::AsRoot {
            self.sub_ids(&format!("{WORKER}:{RANGE}:65536\n"))?;
        }
        let mut command = self.mica(who, who);
        command
            .args(["do", "--name", who.word(), "--lower"])
            .arg(&self.committed);
        if who == Who::AsRoot {
            command.arg("--as-root");
        }
        command.args(["-C", "/", "--", "/usr/bin/env", "-i"]);
        command.args(["/bin/sh", "/given/work.sh", who.word()]);
        run(&mut command)
    }

    fn commit(&self, who: Who) -> Result<()> {
        let mut command = match who {
            // The tree is root's.
            Who::AsRoot => self.mica(Who::Root, who),
            Who::Root | Who::Worker => self.mica(who, who),
        };
        command.args(["commit", "--yes", who.word()]);
        run(&mut command)
    }

    /// Mica as `who` calls it for a session of `owner`'s.
    fn mica(&self, who: Who, owner: Who) -> Command {
        let state = match owner {
            Who::Root => &self.root_state,
            Who::Worker | Who::AsRoot => &self.state,
        };
        let mut command = Command::new("env");
        command
            .arg("-i")
            .arg(format!("XDG_STATE_HOME={}", state.display()));
        command.arg("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
        if who != Who::Root {
            let id = WORKER.to_string();
            command.args(["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"]);
        }
        command.arg(&self.program);
        command
    }

    fn expect_same(&self, who: Who) -> Result<()> {
        let (direct, committed) = (dump::read(&self.direct)?, dump::read(&self.committed)?);
        ensure!(direct.len() > 10_000, "that is no Debian");
        let lens = Lens {
            now: self.now,
            upper: false,
        };
        let mut lines = dump::compare(&direct, &committed, ("A", "B"), lens);
        let all = lines.len();
        lines.retain(|line| !allowed::is_allowed(line, who.ids()));
        println!(
            "chroot: {}: {} objects, {} differences, all but {} of them allowed",
            who.word(),
            direct.len(),
            all,
            lines.len()
        );
        dump::expect_none(who.word(), &lines)
    }
}

/// Returns a Debian root with all that the script needs.
fn furnished_root() -> Result<PathBuf> {
    kept_root("chroot", &[format!("--include={PACKAGES}")], |root| {
        let sysroot = quiet(Command::new("rustc").args(["--print", "sysroot"]))?;
        let mut furnish = Command::new("sh");
        furnish.args(["-c", include_str!("chroot/base.sh"), "base.sh"]);
        quiet(furnish.arg(root).arg(sysroot.trim())).map(drop)
    })
}
