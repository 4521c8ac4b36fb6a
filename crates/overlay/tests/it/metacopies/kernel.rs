//! OVL-104 to OVL-106 against the kernel: what one of the two leaves in an upper is what the other leaves, and what it shows.

use mica_overlay::{Config, Metacopies};
use mica_testkit::{Medium, Mounted, Stack, assert_same};
use mica_vfs::{Errno, RenameFlags};

use super::{Operate, TIME};
use crate::kernel::{By, by, is_possible, shown, upper_of};

const LOWER: &str = "a='0123456789'@4755~3:4[user.k=v] b='b' c='c' e='' h='hard' h2=>h big=hole(64K) \
                     d/f='deep' d/g='deeper' k/ l->a p:fifo";

/// What is done one after the other.
const STEPS: [&[Operate]; 4] = [
    &[
        |w| w.chmod("a", 0o4750),
        |w| w.chown("b", 8, 9),
        |w| w.utimens("c", TIME, TIME),
        |w| w.chmod("e", 0o600),
        |w| w.setxattr("d/f", "user.new", b"v"),
        |w| w.chown("l", 1, 1),
        |w| w.chmod("p", 0o600),
        |w| w.chmod("h", 0o600),
        |w| w.truncate("big", 1000),
    ],
    &[
        |w| w.rename("a", "a2"),
        |w| w.rename("b", "k/b"),
        |w| w.link("c", "k/c"),
        |w| w.rename("h", "h3"),
        |w| w.rename_with("e", "d/g", RenameFlags::EXCHANGE),
        |w| w.rename("d", "d2"),
        |w| w.rename("d2/f", "d2/f2"),
    ],
    &[
        |w| w.write_at("a2", 2, b"AB"),
        |w| w.chmod("k/b", 0o640),
        |w| w.write_at("k/c", 0, b"C"),
        |w| w.rename("d2/f2", "f3"),
        |w| w.truncate("h3", 2),
        |w| w.link("f3", "f4"),
    ],
    &[
        |w| w.truncate("f4", 0),
        |w| w.unlink("k/b"),
        |w| w.write_at("e", 0, b"E"),
        |w| w.rename("d2", "d3"),
        |w| w.chmod("d3/g", 0o600),
        |w| w.rename("h2", "k/h2"),
    ],
];

fn do_step(mounted: &mut Mounted, who: By, step: &[Operate]) {
    by(who, mounted, |walk| {
        for (at, operate) in step.iter().enumerate() {
            assert_eq!(operate(walk), Ok(()), "operation {at} by {who:?}");
        }
    });
}

#[test]
fn ovl_104_to_106_an_upper_is_the_same_whoever_of_the_two_writes_it() {
    if !is_possible("ovl_104_to_106_an_upper_is_the_same_whoever_of_the_two_writes_it") {
        return;
    }
    let config = Config {
        metacopies: Metacopies::On,
        ..Config::default()
    };
    let stack = Stack::new().upper("").lower(LOWER).config(config);
    for writers in 0..16 {
        let mut reference = stack.mount(Medium::Host);
        let mut mixed = stack.mount(Medium::Host);
        for (at, step) in STEPS.iter().enumerate() {
            let who = if writers & (1 << at) == 0 {
                By::Mica
            } else {
                By::Kernel
            };
            do_step(&mut reference, By::Kernel, step);
            do_step(&mut mixed, who, step);
            let what = format!("writers {writers:04b}, step {at} by {who:?}");
            assert_same(&upper_of(&reference), &upper_of(&mixed), &what);
            let (mica, kernel) = shown(&mut mixed);
            assert_same(&kernel, &mica, &what);
        }
        reference.finish();
        mixed.finish();
    }
}

/// A metacopy of 4 bytes, redirected if `to` is not empty.
fn m(path: &str, to: &str) -> String {
    let mark = "trusted.overlay.metacopy=";
    match to {
        "" => format!("{path}=hole(4)[{mark}] "),
        to => format!("{path}=hole(4)[{mark},trusted.overlay.redirect={to}] "),
    }
}

/// Layers by hand: the upper, the lowers, the data-only layers, and what is read.
type Hand = (
    String,
    Vec<String>,
    &'static [&'static str],
    &'static [&'static str],
);

fn by_hand() -> Vec<Hand> {
    let up = |marks: &[(&str, &str)]| marks.iter().map(|(path, to)| m(path, to)).collect();
    let low = |marks: &[(&str, &str)], rest: &str| {
        let marks: String = marks.iter().map(|(path, to)| m(path, to)).collect();
        marks + rest
    };
    vec![
        (
            up(&[
                ("a", ""),
                ("b", "c"),
                ("x", "/d/e"),
                ("gone", ""),
                ("hid", ""),
                ("far", "/d/r/f"),
            ]),
            vec![
                low(
                    &[("c", "old")],
                    "d/ hid:whiteout d/r/[trusted.overlay.redirect=s]",
                ),
                low(
                    &[],
                    "a='data' old='blob' c='nope' d/e='deep' hid='hid!' d/s/f='farf' d/r/f='near'",
                ),
            ],
            &[],
            &["a", "b", "x", "gone", "hid", "far"],
        ),
        (
            up(&[
                ("u", ""),
                ("direct", "/b1"),
                ("lost", "/b2"),
                ("none", "/l2"),
            ]),
            vec![low(
                &[
                    ("u", "/b1"),
                    ("l", "/none"),
                    ("l2", "/none"),
                    ("b1", "/b1"),
                    ("rel", "b1"),
                    ("p", "/q/b1"),
                ],
                "",
            )],
            &["b1='blob' b2='BLOB' q->b1", "b2='blob' q/b1='qqqq'"],
            &["u", "direct", "lost", "none", "l", "b1", "rel", "p"],
        ),
        (
            String::new(),
            vec![
                low(
                    &[
                        ("a", "/x/g"),
                        ("b", "/x/g2"),
                        ("c", "/b1"),
                        ("d", "/w"),
                        ("e", "/o/f"),
                        ("f", "/x/none"),
                        ("g", "/x/r/f"),
                    ],
                    "",
                ),
                low(
                    &[("x/g", "h"), ("x/g2", "")],
                    "w:whiteout o/f/ b1/ x/r/[trusted.overlay.redirect=s]",
                ),
            ],
            &[
                "x/h='xxhh' x/g='xxgg' x/g2='xg2!' b1='blob' w='wwww' h='hhhh' o/f='ooff' x/none='xnone' x/r/f='xrf!' x/s/f='xsf!'",
            ],
            &["a", "b", "c", "d", "e", "f", "g"],
        ),
    ]
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap()
}

#[test]
fn ovl_100_to_103_the_kernel_finds_the_same_data() {
    if !is_possible("ovl_100_to_103_the_kernel_finds_the_same_data") {
        return;
    }
    for metacopies in [Metacopies::On, Metacopies::Off] {
        for (upper, lowers, data, paths) in by_hand() {
            let stack = Stack::new().upper(upper.as_str()).config(Config {
                metacopies,
                ..Config::default()
            });
            let stack = lowers
                .iter()
                .fold(stack, |stack, tree| stack.lower(tree.as_str()));
            let stack = data.iter().fold(stack, |stack, &tree| stack.data(tree));
            let mut mounted = stack.mount(Medium::Host);
            let read = |path: &str| {
                let walk = mounted.walk();
                let size = walk.stat(path).map(|attr| attr.size);
                (size, walk.read(path))
            };
            let mica: Vec<_> = paths.iter().map(|path| read(path)).collect();
            mounted.unmount();
            let kernel = mounted.mount_by_kernel().unwrap();
            for (path, mica) in paths.iter().zip(mica) {
                let file = kernel.path().join(path);
                let size = std::fs::metadata(&file).map(|attr| attr.len());
                let kernel = (size.map_err(errno), std::fs::read(&file).map_err(errno));
                assert_eq!(
                    mica, kernel,
                    "Mica and the kernel, {path}, {metacopies:?}, {lowers:?}"
                );
            }
            drop(kernel);
            mounted.finish();
        }
    }
}
