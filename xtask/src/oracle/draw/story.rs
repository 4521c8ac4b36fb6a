//! Several operations in a row that only together come to an edge, and that chance alone would seldom put together.

use super::Scene;
use crate::rng::Rng;

/// Draws one story, of one process.
pub(super) fn draw(rng: &mut Rng, scene: &Scene) -> Vec<String> {
    let (a, b) = (scene.path(rng), scene.path(rng));
    let story: &[&str] = match rng.below(20) {
        // A file that lost its name is changed (OVL-60, OVL-64).
        0 => &[
            "hold 0 A",
            "unlink A",
            "heldchmod 0 600",
            "heldstat 0",
            "heldread 0",
        ],
        1 => &[
            "holdwrite 0 A",
            "rename B A",
            "heldwrite 0 3 gone",
            "heldread 0",
        ],
        // One that never had a name gets one (OVL-63).
        2 => &[
            "holdtmp 0 D",
            "heldwrite 0 0 born",
            "heldlink 0 A",
            "stat A",
        ],
        // Data after metadata (OVL-104, OVL-106).
        3 => &["chmod A 640", "stat A", "write A 3 late", "read A"],
        4 => &[
            "utimens A 1200000000",
            "rename A B",
            "truncate B 2",
            "read B",
        ],
        // A directory over a whiteout, and one full of whiteouts (OVL-24, OVL-25).
        5 => &["unlink A", "mkdir A 755", "creat A/new 644", "list A"],
        6 => &[
            "mkdir A 755",
            "creat A/a 644",
            "unlink A/a",
            "rename A B",
            "rmdir B",
        ],
        // A directory of lowers moves twice (OVL-90).
        7 => &[
            "rename D N",
            "rename N B",
            "list B",
            "mkdir D 755",
            "list D",
        ],
        8 => &[
            "setx A user.note text any",
            "setx A user.note other new",
            "getx A user.note",
        ],
        9 => &["unlink E/c", "rmdir E", "list .", "mkdir E 755", "list E"],
        10 => &["mkdir B 755", "unlink E/c", "rename B E", "list E"],
        // Who writes takes setuid away (OVL-43).
        11 => &["chmod A 6755", "write A 0 x", "stat A"],
        12 => &["chmod A 2755", "truncate A 1", "stat A"],
        // What is inherited over a whiteout (OVL-24, OVL-128).
        13 => &[
            "setx D system.posix_acl_default @acl any",
            "unlink D/a",
            "creat D/a 640",
            "stat D/a",
            "mkdir D/new 755",
            "listx D/new",
        ],
        // Mappings from before a copy-up and from after it (OVL-126).
        14 => &[
            "hold 0 A",
            "map 0 0 shared",
            "load 0 0",
            "write A 0 late",
            "load 0 0",
        ],
        15 => &[
            "holdwrite 0 A",
            "map 0 0 shared",
            "store 0 0 s",
            "read A",
            "release 0",
            "rename A B",
            "store 0 0 t",
            "unlink B",
            "load 0 0",
        ],
        16 => &["storeinto A 0 s", "stat A", "read A"],
        17 => &[
            "holdwrite 0 A",
            "map 0 0 private",
            "store 0 0 s",
            "write A 0 late",
            "load 0 0",
            "read A",
        ],
        // What is protected stays (OVL-121).
        18 => &[
            "setflags A i",
            "append A x",
            "rename A B",
            "setflags A a",
            "append A x",
            "setflags A -",
            "unlink A",
        ],
        _ => &[
            "link A B",
            "write B 0 both",
            "stat A",
            "read A",
            "unlink A",
            "stat B",
        ],
    };
    let part = |name: &str| match scene.part {
        "" => name.to_owned(),
        part => format!("{part}/{name}"),
    };
    story
        .iter()
        .map(|line| {
            let words = line.split(' ').map(|word| match word {
                "A" => a.clone(),
                "B" => b.clone(),
                "D" => part("d"),
                "E" => part("e"),
                "N" => part("new"),
                _ => match word.split_once('/') {
                    Some(("A", rest)) => format!("{a}/{rest}"),
                    Some(("D", rest)) => part(&format!("d/{rest}")),
                    Some(("E", rest)) => part(&format!("e/{rest}")),
                    _ => word.to_owned(),
                },
            });
            words.collect::<Vec<_>>().join(" ")
        })
        .collect()
}
