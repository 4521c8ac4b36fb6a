//! Sequences that showed a difference once, replayed first.
//!
//! A report of the oracle prints a case in this form, ready to be added here.

/// One of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// The rule that it shows, and what went wrong.
    pub(super) claim: &'static str,
    /// The name of an option set.
    pub(super) set: &'static str,
    /// The name of a layout.
    pub(super) layout: &'static str,
    /// One step a line.
    pub(super) script: &'static str,
}

impl Case {
    /// Returns the steps.
    pub(super) fn steps(&self) -> Vec<String> {
        let lines = self.script.lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// Writes a case as it is written below.
pub(super) fn show<'a>(
    claim: &str,
    set: &str,
    layout: &str,
    steps: impl Iterator<Item = &'a str>,
) -> String {
    let mut text = format!(
        "    Case {{\n        claim: {claim:?},\n        set: {set:?},\n        layout: {layout:?},\n        script: \"\n"
    );
    for step in steps {
        text.push_str(&format!("            {}\n", step.escape_default()));
    }
    text.push_str("        \",\n    },\n");
    text
}

/// Cuts a difference to what fits a line as the claim of a case.
pub(super) fn shorten(line: &str) -> String {
    const LEN_MAX: usize = 90;
    let mut len = 0;
    let fits = |c: &char| {
        len += c.escape_debug().count();
        len <= LEN_MAX
    };
    let cut: String = line.chars().take_while(fits).collect();
    if cut == line {
        cut
    } else {
        format!("{cut} ...")
    }
}

/// All of them.
pub(super) const CASES: &[Case] = &[
    Case {
        claim: "OVL-23: a whiteout takes the place of what was removed, also through a remount by the other driver",
        set: "plain",
        layout: "plain",
        script: "
            0 unlink d/a
            swap
            0 stat d/a
            0 creat d/a 644
            swap
            0 read d/a
        ",
    },
    Case {
        claim: "OVL-93: xino=on marks new directories",
        set: "xino",
        layout: "plain",
        script: "
            0 mkdir d/new 755
        ",
    },
    Case {
        claim: "OVL-93: so does index=on",
        set: "index",
        layout: "plain",
        script: "
            0 mkdir d/new 755
        ",
    },
    Case {
        claim: "OVL-104: a file replaces a metacopy",
        set: "metacopy",
        layout: "rich",
        script: "
            0 lchown 1/d/a - 1000
            0 rename 1/d/sub 1/d/a
        ",
    },
    Case {
        claim: "OVL-90: what moves is marked before the upper is asked whether a directory of its own is empty",
        set: "redirect",
        layout: "plain",
        script: "
            0 mkdir e/new 755
            0 creat e/new/a 644
            0 rename d new
            0 rename new e/new
        ",
    },
    Case {
        claim: "OVL-6: a whiteout by attribute in a directory without the mark is listed again when what was over it goes",
        set: "plain",
        layout: "whiteouts by xattr",
        script: "
            1 mkdir 1/other 755
            1 list 1/e
            0 tmplink 1/other 1/e/c
            0 unlink 1/e/c
        ",
    },
    Case {
        claim: "D-33: what came with an origin that says nothing leaves its directory impure",
        set: "userxattr",
        layout: "whiteouts",
        script: "
            1 rename d/b e/only
            remount
        ",
    },
    Case {
        claim: "OVL-126: what was stored through a mapping alone is in the copy",
        set: "plain",
        layout: "rich",
        script: "
            0 storeinto d/b 5000 stored
            swap
            0 read d/b
        ",
    },
    Case {
        claim: "OVL-121: what was refused is not in the file, also where a mapping showed it (D-39)",
        set: "plain",
        layout: "flags",
        script: "
            0 hold 0 d/b
            0 map 0 0 shared
            0 load 0 0
            0 write d/b 0 late
            0 load 0 0
            0 read d/b
        ",
    },
    Case {
        claim: "OVL-111: the data of a metacopy comes by the name that was looked up last",
        set: "all",
        layout: "links",
        script: "
            0 chmod 0/a 600
            0 stat 0/d/a
            0 append 0/a x
        ",
    },
    Case {
        claim: "D-19: what is held is protected, too, and the client has another reason",
        set: "off",
        layout: "flags",
        script: "
            2 hold 1 2/empty
            2 heldsetx 1 bad no-namespace
        ",
    },
    Case {
        claim: "OVL-111: what is stored through a mapping is written by the name that was looked up before",
        set: "all",
        layout: "links",
        script: "
            0 holdwrite 0 ln
            0 map 0 0 shared
            0 store 0 0 t
            0 list d/a
        ",
    },
];

#[cfg(test)]
mod tests {
    use super::{CASES, shorten, show};

    #[test]
    fn a_case_is_printed_as_it_is_written_here() {
        let here = include_str!("regress.rs");
        for case in CASES {
            let steps = case.steps();
            let steps = steps.iter().map(String::as_str);
            let text = show(case.claim, case.set, case.layout, steps);
            assert!(here.contains(&text), "{text}");
        }
    }

    #[test]
    fn a_claim_fits_a_line() {
        assert_eq!(shorten("short"), "short");
        assert_eq!(shorten(&"\n".repeat(200)).chars().count(), 49);
    }
}
