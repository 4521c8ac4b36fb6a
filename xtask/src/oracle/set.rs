//! The sets of mount options under which both sides are compared.

use super::layout::{Layout, Rights};

/// One set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Set {
    pub(super) name: &'static str,
    /// The words for both drivers, besides the directories.
    pub(super) options: &'static str,
}

const fn set(name: &'static str, options: &'static str) -> Set {
    Set { name, options }
}

/// All sets. What is `off` is said, for the defaults of the two drivers are not the same.
const SETS: &[Set] = &[
    set("plain", "redirect_dir=nofollow,metacopy=off,index=off"),
    set("redirect", "redirect_dir=on,metacopy=off,index=off"),
    set("follow", "redirect_dir=follow,metacopy=off,index=off"),
    set("off", "redirect_dir=off,metacopy=off,index=off"),
    set("metacopy", "redirect_dir=on,metacopy=on,index=off"),
    set("index", "redirect_dir=nofollow,metacopy=off,index=on"),
    set(
        "xino",
        "redirect_dir=nofollow,metacopy=off,index=off,xino=on",
    ),
    set(
        "volatile",
        "redirect_dir=nofollow,metacopy=off,index=off,volatile",
    ),
    set("userxattr", "userxattr,index=off"),
    set("all", "redirect_dir=on,metacopy=on,index=on,xino=on"),
];

/// Returns the sets of these `names`, separated by commas; all that go where `rights` are if there is none.
pub(super) fn select(names: Option<&str>, rights: Rights) -> anyhow::Result<Vec<Set>> {
    let fits = |set: &&Set| rights == Rights::All || set.name == "userxattr";
    let Some(names) = names else {
        return Ok(SETS.iter().filter(fits).copied().collect());
    };
    names
        .split(',')
        .map(|name| {
            SETS.iter()
                .find(|set| set.name == name)
                .copied()
                .ok_or_else(|| {
                    let all: Vec<_> = SETS.iter().map(|set| set.name).collect();
                    anyhow::anyhow!("no option set `{name}`; there are {}", all.join(", "))
                })
        })
        .collect()
}

impl Set {
    /// Returns in which namespace the marks are, where everything else can be had.
    pub(super) fn uses_user_xattrs(self) -> bool {
        self.options.contains("userxattr")
    }

    /// Says whether a line can be compared: an upper with marks of the other namespace is refused (D-16), after a volatile mount
    /// each further one (OVL-66), and the kernel takes the names of a file for several where marks are `user.overlay.*` (D-34).
    pub(super) fn takes_line(self, line: &str) -> bool {
        let links = |word: &str| word.starts_with("link") || word == "heldlink";
        if self.uses_user_xattrs() && line.split(' ').any(links) {
            return false;
        }
        let other = if self.uses_user_xattrs() {
            " trusted.overlay."
        } else {
            " user.overlay.opaque"
        };
        let is_turn = matches!(line, "remount" | "swap");
        !line.contains(other) && (!is_turn || !self.is_volatile())
    }

    /// Whether nothing mounts the layers again.
    pub(super) fn is_volatile(self) -> bool {
        self.options.contains("volatile")
    }

    /// Says whether redirects that are there are followed.
    fn follows(self) -> bool {
        ["redirect_dir=on", "redirect_dir=follow", "redirect_dir=off"]
            .iter()
            .any(|word| self.options.contains(word))
    }

    /// Says whether `layout` can be compared under these options: without an index, the names of a lower file stay one
    /// file for the life of a Mica mount only (OVL-32), and the kernel hides what it refuses in an impure directory
    /// (D-23).
    pub(super) fn takes(self, layout: &Layout) -> bool {
        (self.options.contains("index=on") || !layout.has_links())
            && (!self.is_volatile() || layout.upper.trim().is_empty())
            && (self.follows() || !layout.upper.contains(".redirect"))
    }
}
