//! Going on after a fault. What one leaves is the business of `tests/faults`.

use mica_testkit::{Fault, Lacks, Medium, Stack};
use mica_vfs::{Errno, SetAttr};

fn stack() -> Stack {
    Stack::new().upper("").lower("f='lower'@0640~3:4[user.k=v]")
}

#[test]
fn a_failed_copy_up_can_be_tried_again() {
    for medium in Medium::all() {
        let mut mounted = stack().mount(medium);
        let faults = mounted.with_faults();
        for nth in 1..=12 {
            faults.arm(nth, Fault::Fail(Errno::DQUOT));
            let result = mounted.walk().set_attr(
                "f",
                &SetAttr {
                    uid: Some(9),
                    ..SetAttr::default()
                },
            );
            if faults.struck() && result.is_err() {
                assert_eq!(result, Err(Errno::DQUOT));
            }
        }
        faults.heal();
        mounted.walk().write_at("f", 0, b"LOWER").unwrap();
        assert_eq!(mounted.walk().read_text("f").as_deref(), Ok("LOWER"));
        mounted.finish();
    }
}

/// A directory over a lower one that it hides leaves a whiteout, also where the new name has one and the upper cannot
/// exchange the two (OVL-26).
#[test]
fn ovl_26_a_directory_renamed_over_a_whiteout_leaves_one_without_an_exchange() {
    let stack = Stack::new()
        .upper("a:opaque b:whiteout")
        .lower("a/secret='1' b/x='1'");
    for medium in Medium::all() {
        for lacks in [Lacks::EXCHANGE, Lacks::EXCHANGE | Lacks::WHITEOUT] {
            let mut mounted = stack.mount(medium);
            mounted.with_faults().lack(lacks);
            mounted.walk().rename("a", "b").unwrap();
            mounted.remount();
            assert_eq!(
                mounted.walk().ls("").unwrap(),
                ["b"],
                "{medium:?} {lacks:?}"
            );
            assert!(mounted.walk().ls("b").unwrap().is_empty());
            mounted.finish();
        }
    }
}

/// What a listing says of layers is not believed when a file was copied up while it was being read.
#[test]
fn a_file_that_is_copied_up_while_its_directory_is_listed_is_found_in_the_upper() {
    use mica_vfs::{Cookie, Filesystem as _, Flow, NodeId};
    let names: String = (100..300).map(|n| format!(" f{n}='lower'")).collect();
    let stack = Stack::new()
        .upper("")
        .lower("top='1'")
        .lower(names.as_str());
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        let overlay = mounted.overlay();
        let mut nodes = Vec::new();
        let mut seen = 0;
        let listed = overlay.read_dir_plus(NodeId::ROOT, Cookie::START, &mut |_, entry| {
            seen += 1;
            nodes.extend(entry.map(|entry| entry.node));
            if seen == 1 {
                overlay.trim_idle(std::time::Duration::ZERO);
                for n in 100..300 {
                    mounted
                        .walk()
                        .write_at(&format!("f{n}"), 0, b"UPPER")
                        .unwrap();
                }
            }
            Flow::Continue
        });
        listed.unwrap();
        for node in nodes {
            let mut text = [0; 5];
            let len = overlay.read(node, 0, &mut text).unwrap();
            assert!(
                matches!(&text[..len], b"UPPER" | b"1"),
                "{medium:?} {text:?}"
            );
            overlay.forget(node, 1);
        }
        mounted.finish();
    }
}
