//! OVL-90 and OVL-91 against the kernel: what either of the two renamed the other shows, and the walk finds what the kernel finds.

use mica_overlay::Redirects;
use mica_testkit::{Medium, Mounted, Stack, Walk, assert_same};
use mica_vfs::{Errno, RenameFlags};

use super::config;
use crate::kernel::{By, by, is_possible, shown, upper_of};

const REDIRECT: &str = "[trusted.overlay.redirect=";

/// Stacks, the topmost layer first. In each, `=` stands before what a directory is redirected to.
const WALKS: [&[&str]; 18] = [
    // Relative, absolute, and nowhere.
    &["d/=a d/u='u' a:whiteout", "a/1='1' d/hidden='1'"],
    &["d/=/p/a d/u='u' p/a:whiteout", "p/a/1='1' d/hidden='1'"],
    &["d/=a d/u='u'", "d/hidden='1'"],
    // Over several layers, each of which may have it.
    &["d/=a a:whiteout", "x='1'", "a/2='2'", "a/3='3'"],
    // A chain: each layer renamed it again.
    &[
        "d/=c c:whiteout",
        "c/=b c/1='1' b:whiteout",
        "b/=/p/a b/2='2' p/a:whiteout",
        "p/a/3='3' b/no='3'",
    ],
    &[
        "d/=/p/c p/c:whiteout",
        "p/c/=b p/c/1='1' p/b:whiteout",
        "p/b/2='2' b/no='2'",
    ],
    // A directory on the way was renamed by the layer that is asked, with another name or to elsewhere.
    &[
        "d/=/p/a p/a:whiteout",
        "p/=q p/a/1='1' q:whiteout",
        "q/a/2='2' p/no='2'",
    ],
    &[
        "d/=/p/a p/a:whiteout",
        "p/=/q/r p/a/1='1' q/r:whiteout",
        "q/r/a/2='2' p/a/no='2'",
    ],
    &[
        "d/=/p/a p/a:whiteout",
        "p/=/q/r p/x='1' q/r:whiteout",
        "q/r/a/2='2' p/a/no='2'",
        "q/r/a/3='3'",
    ],
    // It is opaque, a whiteout or a file in one of the layers.
    &["d/=/p/a p/a:whiteout", "p:opaque p/a/1='1'", "p/a/no='2'"],
    &["d/=/p/a p/a:whiteout", "p:opaque p/x='1'", "p/a/no='2'"],
    &["d/=/p/a", "p:whiteout", "p/a/no='2'"],
    &["d/=/p/a", "p='file'", "p/a/no='2'"],
    // Opaque on the way, but what lies there was moved from elsewhere.
    &[
        "d/=/p/a p/a:whiteout",
        "p:opaque p/a/=/q p/a/1='1' q:whiteout",
        "q/2='2' p/a/no='2'",
    ],
    // A parent that is of the upper alone, and one that merges with other lowers.
    &[
        "up/[trusted.overlay.impure=y] up/d/=/a up/d/u='u' a:whiteout",
        "a/1='1'",
    ],
    &[
        "m/=/n m/d/=/a a:whiteout n:whiteout",
        "n/d/no='1' a/1='1'",
        "n/2='2' a/2='2'",
    ],
    // An opaque directory is not redirected, and a file neither.
    &["d/=/a[trusted.overlay.opaque=y] d/u='u'", "a/1='1' d/2='1'"],
    &["d/=f f:whiteout d/u='u'", "f='file'", "f/no='2'"],
];

#[test]
fn ovl_91_a_redirect_leads_where_it_leads_the_kernel() {
    if !is_possible("ovl_91_a_redirect_leads_where_it_leads_the_kernel") {
        return;
    }
    for layers in WALKS {
        for above in [None, Some("x/")] {
            // The same below another upper: then the redirects are all of lowers.
            let layers = above.into_iter().chain(layers.iter().copied());
            let mut layers = layers.map(|layer| {
                let words = layer.split(' ').map(|word| match word.split_once("/=") {
                    Some((dir, to)) => match to.split_once('[') {
                        Some((to, more)) => format!("{dir}/{REDIRECT}{to}][{more}"),
                        None => format!("{dir}/{REDIRECT}{to}]"),
                    },
                    None => word.to_owned(),
                });
                words.collect::<Vec<_>>().join(" ")
            });
            let upper = layers.next().unwrap();
            let stack = layers.fold(Stack::new().upper(upper.as_str()), |stack, lower| {
                stack.lower(lower.as_str())
            });
            for redirects in [Redirects::On, Redirects::Follow] {
                let mut mounted = stack.clone().config(config(redirects)).mount(Medium::Host);
                let (mica, kernel) = shown(&mut mounted);
                assert_same(&kernel, &mica, &format!("the kernel and Mica\n{stack}"));
                mounted.finish();
            }
        }
    }
}

const LOWERS: [&str; 3] = [
    "a/a/a='1' a/b/c='1' b/x/y='1' c='1' d/f='1'",
    "a/a/b/z='2' b/a/c/q='2' c='2' d:whiteout",
    "a/c/d='3' b/a/c/r='3' d/g='3' e/f/g='3'",
];

/// Numbers that look random, from a seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }

    fn path(&mut self) -> String {
        let depth = 1 + self.below(3);
        let names = (0..depth).map(|_| ["a", "b", "c", "d", "e"][self.below(5)]);
        names.collect::<Vec<_>>().join("/")
    }
}

#[derive(Debug, Clone)]
enum Op {
    Rename(String, String, RenameFlags),
    Mkdir(String),
    Write(String),
    Unlink(String),
    Rmdir(String),
    RemoveAll(String),
}

impl Op {
    fn drawn(draw: &mut Draw) -> Self {
        let (one, other) = (draw.path(), draw.path());
        match draw.below(16) {
            0..8 => Self::Rename(one, other, RenameFlags::empty()),
            8..10 => Self::Rename(one, other, RenameFlags::EXCHANGE),
            10 => Self::Rename(one, other, RenameFlags::NOREPLACE),
            11 | 12 => Self::Mkdir(one),
            13 => Self::Write(one),
            14 => Self::Unlink(one),
            _ if draw.below(3) == 0 => Self::RemoveAll(one),
            _ => Self::Rmdir(one),
        }
    }

    fn run(&self, walk: Walk<'_>) -> Result<(), Errno> {
        match self {
            Self::Rename(from, to, flags) => walk.rename_with(from, to, *flags),
            // A front looks first.
            Self::Mkdir(path) if walk.exists(path) => Err(Errno::EXIST),
            Self::Mkdir(path) => walk.mkdir(path),
            Self::Write(path) => walk.write(path, b"new"),
            Self::Unlink(path) => walk.unlink(path),
            Self::Rmdir(path) => walk.rmdir(path),
            Self::RemoveAll(path) => walk.remove_all(path),
        }
    }
}

/// Runs operations by Mica, or by the kernel, on the layers of a stack.
fn run(mounted: &mut Mounted, who: By, ops: &[Op]) -> Vec<Result<(), Errno>> {
    by(who, mounted, |walk| {
        ops.iter().map(|op| op.run(walk)).collect()
    })
}

/// Either of the two goes on with what the other left, and the upper is byte for byte the one that the kernel alone writes.
#[test]
fn ovl_90_what_mica_renames_the_kernel_would_have_renamed_so() {
    if !is_possible("ovl_90_what_mica_renames_the_kernel_would_have_renamed_so") {
        return;
    }
    let stack = LOWERS
        .iter()
        .fold(Stack::new().upper(""), |stack, lower| stack.lower(*lower));
    let stack = stack.config(config(Redirects::On));
    let mut renamed = 0;
    for seed in 0..15 {
        let mut draw = Draw(seed);
        let mut reference = stack.mount(Medium::Host);
        let mut mixed = stack.mount(Medium::Host);
        let mut log = format!("seed {seed}\n");
        for round in 0..5 {
            let ops: Vec<_> = (0..8).map(|_| Op::drawn(&mut draw)).collect();
            let who = if draw.below(3) == 0 {
                By::Kernel
            } else {
                By::Mica
            };
            let expected = run(&mut reference, By::Kernel, &ops);
            let found = run(&mut mixed, who, &ops);
            for (op, result) in ops.iter().zip(&expected) {
                log.push_str(&format!("{op:?} = {result:?}\n"));
            }
            let what = format!("round {round}, by {who:?}\n{log}");
            assert_eq!(expected, found, "{what}");
            let upper = upper_of(&mixed);
            assert_same(&upper_of(&reference), &upper, &what);
            renamed += upper
                .0
                .values()
                .filter(|o| o.xattrs.contains_key("trusted.overlay.redirect"))
                .count();
            let (mica, kernel) = shown(&mut mixed);
            assert_same(&kernel, &mica, &what);
            assert_same(&shown(&mut reference).1, &kernel, &what);
        }
        reference.finish();
        mixed.finish();
    }
    assert!(renamed > 50, "{renamed} directories with a redirect");
}
