//! OVL-8 and OVL-90 to OVL-93: directories that have another name in the layers below.

use mica_overlay::{Config, Redirects};
use mica_testkit::{Medium, Stack};
use mica_vfs::Errno;

fn config(redirects: Redirects) -> Config {
    Config {
        redirects,
        ..Config::default()
    }
}

fn names<const N: usize>(names: [&str; N]) -> Result<Vec<String>, Errno> {
    Ok(names.map(String::from).to_vec())
}

#[test]
fn ovl_8_a_redirect_that_is_not_followed_is_refused_in_every_layer() {
    for value in ["below", "/below", "nowhere", "/no/where"] {
        let dir = format!("d/[trusted.overlay.redirect={value}] d/a='1'");
        let below = "d/b='2' below/c='3'";
        for (stack, expected) in [
            (
                Stack::new().upper(dir.as_str()).lower(below),
                Err(Errno::PERM),
            ),
            (
                Stack::new().upper("").lower(dir.as_str()).lower(below),
                Err(Errno::PERM),
            ),
            // Nothing lies below the lowest layer.
            (
                Stack::new().upper("").lower("x='1'").lower(dir.as_str()),
                names(["a"]),
            ),
        ] {
            for medium in Medium::all() {
                let mounted = stack
                    .clone()
                    .config(config(Redirects::NoFollow))
                    .mount(medium);
                assert_eq!(mounted.walk().ls("d"), expected, "{stack} over {medium:?}");
                mounted.finish();
            }
        }
    }
}
