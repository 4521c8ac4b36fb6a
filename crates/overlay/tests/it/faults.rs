//! Going on after a fault. What one leaves is the business of `tests/faults`.

use mica_testkit::{Fault, Medium, Stack};
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
