use mica_vfs::Errno;

use super::*;

#[test]
fn a_stack_shows_its_layers_and_keeps_what_is_written() {
    let stack = Stack::new()
        .lower("d/a='1' d/b='2'")
        .upper("d/a:whiteout d/c='3'");
    check(&stack, |walk| walk.ls("d").unwrap(), ["b", "c"]);
    check(
        &stack,
        |walk| {
            walk.write_at("d/b", 0, b"x")?;
            walk.read_text("d/b")
        },
        Ok::<_, Errno>("x".to_owned()),
    );
}

#[test]
fn a_stack_outlives_its_overlay() {
    let stack = Stack::new().lower("a='1'").upper("");
    for medium in Medium::all() {
        let mut mounted = stack.mount(medium);
        mounted.walk().write("b", b"2").unwrap();
        mounted.remount();
        assert_eq!(mounted.walk().read("b").unwrap(), b"2");
        assert_eq!(mounted.walk_upper().ls("").unwrap(), ["b"]);
        mounted.finish();
    }
}

#[test]
fn faults_strike_the_upper_only() {
    let stack = Stack::new().lower("a='1'").upper("");
    let mut mounted = stack.mount(Medium::Memory);
    let faults = mounted.with_faults();
    faults.arm(1, crate::Fault::Fail(Errno::NOSPC));
    assert_eq!(mounted.walk().chmod("a", 0o600), Err(Errno::NOSPC));
    assert_eq!(mounted.walk().read("a").unwrap(), b"1");
    assert!(faults.struck());
    faults.heal();
    mounted.walk().chmod("a", 0o600).unwrap();
    mounted.assert_shows_layers();
    mounted.finish();
}
