//! OVL-72: owners that are not known.

use mica_overlay::{Config, Unmapped};
use mica_testkit::{Medium, Stack};
use mica_vfs::Errno;

const LOWER: &str = "f='data'~65534:0 g='data'~0:65534 d/~65534:65534 d/in='in' mine='mine'~7:7";

#[test]
fn ovl_72_what_has_no_known_owner_is_not_copied_up() {
    let unmapped = Unmapped {
        uid: Some(65534),
        gid: Some(65534),
    };
    let config = Config {
        unmapped,
        ..Config::default()
    };
    for medium in Medium::all() {
        let mounted = Stack::new()
            .upper("own='own'~65534:65534")
            .lower(LOWER)
            .config(config.clone())
            .mount(medium);
        let walk = mounted.walk();
        assert_eq!(walk.stat("f").unwrap().uid, 65534);
        let overflow = Err(Errno::OVERFLOW);
        assert_eq!(walk.write_at("f", 0, b"x"), overflow);
        assert_eq!(walk.chmod("g", 0o600), overflow);
        assert_eq!(walk.rename("f", "moved"), overflow);
        assert_eq!(walk.link("f", "link"), overflow);
        assert_eq!(walk.create("d/new", 0o600), overflow);
        assert_eq!(walk.chmod("d/in", 0o600), overflow);
        // Nothing is half-made.
        assert_eq!(mounted.walk_upper().ls("").unwrap(), ["own"]);
        let left = mounted.walk_work().ls("work").unwrap();
        assert_eq!(left, Vec::<String>::new());
        // What needs no copy works.
        assert_eq!(walk.read_text("f").as_deref(), Ok("data"));
        walk.unlink("f").unwrap();
        walk.chmod("mine", 0o600).unwrap();
        walk.write("own", b"changed").unwrap();
        mounted.finish();
    }
}

#[test]
fn ovl_72_where_every_owner_is_known_65534_is_one_of_them() {
    for medium in Medium::all() {
        let mounted = Stack::new().upper("").lower(LOWER).mount(medium);
        let walk = mounted.walk();
        walk.write_at("f", 0, b"DATA").unwrap();
        walk.chmod("d/in", 0o600).unwrap();
        assert_eq!(walk.stat("f").unwrap().uid, 65534);
        mounted.finish();
    }
}
