//! OVL-8, OVL-100 to OVL-103: where the data of a metacopy is found.

use mica_overlay::{Config, Metacopies};
use mica_testkit::{Medium, Stack};
use mica_vfs::Errno;

use super::{METACOPY, in_upper, metacopy, on};

#[track_caller]
fn reads(stack: &Stack, expected: &[(&str, Result<&str, Errno>)]) {
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        for &(path, content) in expected {
            let found = mounted.walk().read_text(path);
            assert_eq!(
                found.as_deref(),
                content.as_ref().copied(),
                "{path} over {medium:?}"
            );
            if content == Err(Errno::IO) || content == Err(Errno::PERM) {
                let found = mounted.walk().stat(path).map(drop);
                assert_eq!(found, content.map(drop), "stat {path}");
            }
        }
        mounted.finish();
    }
}

#[test]
fn ovl_100_the_topmost_metacopy_has_the_metadata_and_the_first_whole_file_the_data() {
    let stack = Stack::new()
        .config(on())
        .upper(format!("d/a=hole(4)@0700[{METACOPY}=] {}", metacopy("e", 4, None)).as_str())
        .lower(format!("d/a=hole(4)@0711[{METACOPY}=] d/b=hole(4)@0640[{METACOPY}=]").as_str())
        .lower("x='0'")
        .lower("d/a='data'@0644 d/b='beta'@0644 e='elem'")
        .lower("d/a='deep' d/b='deep' e='deep'");
    reads(
        &stack,
        &[("d/a", Ok("data")), ("d/b", Ok("beta")), ("e", Ok("elem"))],
    );
    let mounted = stack.mount(Medium::Memory);
    assert_eq!(mounted.walk().stat("d/a").unwrap().mode.bits(), 0o700);
    assert_eq!(mounted.walk().stat("d/b").unwrap().mode.bits(), 0o640);
    mounted.assert_shows_layers();
    mounted.finish();
}

#[test]
fn ovl_100_a_relative_redirect_is_another_name_below() {
    let stack = Stack::new()
        .config(on())
        .upper(metacopy("d/new", 4, Some("old")).as_str())
        .lower(metacopy("d/old", 4, Some("older")).as_str())
        .lower("d/old='nope' d/new='nope' d/older='data'");
    reads(&stack, &[("d/new", Ok("data")), ("d/old", Ok("data"))]);
}

#[test]
fn ovl_100_a_metacopy_without_data_is_an_error() {
    let all = ["none", "dir", "hidden", "gone", "fifo"];
    let upper: String = all.map(|path| metacopy(path, 4, None)).concat();
    let stack = Stack::new()
        .config(on())
        .upper(upper.as_str())
        .lower("dir/ hidden:whiteout gone:xwhiteout fifo:fifo")
        .lower("dir='data' hidden='data' gone='data' fifo='data'");
    reads(&stack, &all.map(|path| (path, Err(Errno::IO))));
}

#[test]
fn ovl_8_a_metacopy_is_refused_where_it_was_not_asked_for() {
    let stack = Stack::new()
        .upper(metacopy("u", 4, None).as_str())
        .lower(metacopy("l", 4, None).as_str())
        .lower("u='data' l='data'");
    reads(&stack, &[("u", Err(Errno::PERM)), ("l", Err(Errno::PERM))]);
}

#[test]
fn ovl_101_readers_see_as_much_as_the_metadata_say() {
    let lower: String = [metacopy("short", 3, None), metacopy("long", 8, None)].concat();
    let stack = Stack::new()
        .config(on())
        .upper("")
        .lower(lower.as_str())
        .lower("short='data' long='data'");
    for medium in Medium::all() {
        let mounted = stack.mount(medium);
        let walk = mounted.walk();
        assert_eq!(walk.read_text("short").as_deref(), Ok("dat"));
        assert_eq!(walk.stat("short").unwrap().size, 3);
        assert_eq!(walk.stat("long").unwrap().size, 8);
        let held = walk.hold("short").unwrap();
        let seek = |from| walk.fs().seek(held.node(), from);
        assert_eq!(seek(mica_vfs::SeekFrom::Hole(0)), Ok(3));
        assert_eq!(seek(mica_vfs::SeekFrom::Data(3)), Err(Errno::NXIO));
        drop(held);
        // A copy is what was seen, filled with zeros.
        walk.write_at("short", 0, b"D").unwrap();
        walk.write_at("long", 0, b"D").unwrap();
        assert_eq!(walk.read_text("short").as_deref(), Ok("Dat"));
        assert_eq!(walk.read_text("long").as_deref(), Ok("Data\0\0\0\0"));
        mounted.finish();
    }
}

/// The lower of a stack with data-only layers, and the layers.
fn with_data(config: Config, lowers: &[&str]) -> Stack {
    let stack = Stack::new().upper("").config(config);
    let stack = lowers
        .iter()
        .fold(stack, |stack, &lower| stack.lower(lower));
    stack
        .data("b1='blob1' both='both1' dir/ sub->deep deep/x='deep1'")
        .data("b2='blob2' both='both2' sub/x='deep2'")
}

fn to_data() -> String {
    let named = ["b1", "b2", "both", "dir", "none"]
        .map(|name| metacopy(name, 5, Some(&format!("/{name}"))));
    let deep = metacopy("deep", 5, Some("/sub/x"));
    let near = metacopy("near", 5, Some("b1")) + &metacopy("here", 5, None);
    named.concat() + &deep + &near
}

#[test]
fn ovl_102_data_only_layers_are_asked_in_order_by_absolute_redirects_alone() {
    let lower = to_data();
    let found = [
        ("b1", Ok("blob1")),
        ("b2", Ok("blob2")),
        ("both", Ok("both1")),
        ("deep", Ok("deep2")),
        ("dir", Err(Errno::NOENT)),
        ("none", Err(Errno::NOENT)),
    ];
    let refused = |errno| [("near", Err(errno)), ("here", Err(errno))];
    reads(&with_data(on(), &[&lower]), &found);
    reads(&with_data(on(), &[&lower]), &refused(Errno::IO));
    // To read them is what they were given for (OVL-103).
    reads(&with_data(Config::default(), &[&lower]), &found);
    reads(
        &with_data(Config::default(), &[&lower]),
        &refused(Errno::PERM),
    );
    // But not from a layer that has another one below it.
    let from_above = with_data(Config::default(), &[&lower, "x='x'"]);
    reads(&from_above, &[("b1", Err(Errno::PERM))]);
    let mounted = with_data(on(), &[&lower]).mount(Medium::Memory);
    assert!(
        !mounted.walk().exists("sub"),
        "a data-only layer shows its names"
    );
    assert_eq!(mounted.walk().ls("").unwrap().len(), 8);
    mounted.finish();
}

#[test]
fn ovl_102_blocks_are_guessed_until_the_data_is_looked_for() {
    let lower = metacopy("b1", 5000, Some("/b1"));
    for medium in Medium::all() {
        let mounted = with_data(on(), &[&lower]).mount(medium);
        let walk = mounted.walk();
        let held = walk.hold("b1").unwrap();
        let guessed = walk.stat("b1").unwrap();
        let unit = u64::from(guessed.blksize);
        assert_eq!(guessed.blocks, 5000_u64.next_multiple_of(unit) / 512);
        walk.read("b1").unwrap();
        let data = u64::from(walk.stat("b1").unwrap().blocks < guessed.blocks);
        assert_eq!(data, u64::from(unit < 5000), "over {medium:?}");
        drop(held);
        mounted.finish();
    }
}

#[test]
fn ovl_103_a_file_of_a_data_only_layer_is_changed_as_any_other() {
    let lower = to_data();
    for config in [on(), Config::default()] {
        for medium in Medium::all() {
            let mut mounted = with_data(config.clone(), &[&lower]).mount(medium);
            let walk = mounted.walk();
            walk.chmod("b1", 0o600).unwrap();
            walk.write_at("b2", 0, b"B").unwrap();
            let is_on = config.metacopies == Metacopies::On;
            assert_eq!(in_upper(&mounted, "b1"), Some(is_on));
            assert_eq!(in_upper(&mounted, "b2"), Some(false));
            mounted.remount();
            let walk = mounted.walk();
            assert_eq!(walk.read_text("b1").as_deref(), Ok("blob1"));
            assert_eq!(walk.stat("b1").unwrap().mode.bits(), 0o600);
            assert_eq!(walk.read_text("b2").as_deref(), Ok("Blob2"));
            walk.write_at("b1", 0, b"B").unwrap();
            assert_eq!(walk.read_text("b1").as_deref(), Ok("Blob1"));
            mounted.finish();
        }
    }
}

#[test]
fn ovl_102_an_upper_metacopy_finds_its_data_by_way_of_a_lower_one() {
    let lower = to_data();
    let upper = metacopy("direct", 5, Some("/b1")) + &metacopy("moved", 5, Some("/b2"));
    let stack = with_data(on(), &[&lower]).upper(upper.as_str());
    // `b2` is a metacopy of the lower; so is `b1`, so both are found.
    reads(&stack, &[("direct", Ok("blob1")), ("moved", Ok("blob2"))]);
    let stack = with_data(on(), &["x='x'"]).upper(upper.as_str());
    reads(
        &stack,
        &[("direct", Err(Errno::IO)), ("moved", Err(Errno::IO))],
    );
}
