//! The layers that are compared, each stack of them a shape of its own.

use super::Layout;

const PLAIN: &str = "
    d d
    f d/a 0644 0:0 lower-a
    f d/b 0600 1000:1000 lower-b
    d d/sub
    f d/sub/x 0644 0:0 x
    d e 0777
    f e/c 0666 0:0 c
    f a 0644 0:0 top-a
    l ln a
    p fifo
    c dev 1:3
";

const RICH: &str = "
    d d 0755
    f d/a 4755 0:0 setuid
    x d/a user.note hello
    big d/b 64
    sparse d/sub 64
    d e 2775 0:1000
    f e/c 0666 1000:1000 c
    f a 0644 0:0 top-a
    x a trusted.note secret
    x a user.long 0123456789012345678901234567890123456789
    l ln d/a
    d empty 1777
    s sock
";

/// All of them.
pub(crate) const LAYOUTS: &[Layout] = &[
    Layout {
        name: "plain",
        lowers: &[PLAIN],
        upper: "",
        data: &[],
    },
    Layout {
        name: "rich",
        lowers: &[RICH],
        upper: "",
        data: &[],
    },
    Layout {
        name: "merged",
        lowers: &[PLAIN],
        upper: "
        d d 0750
        f d/a 0644 0:0 upper-a
        f d/n 0644 0:0 new
        d e
        f e/u 0644 1000:1000 u",
        data: &[],
    },
    Layout {
        name: "whiteouts",
        lowers: &[PLAIN],
        upper: "
        d d
        w d/a
        w a
        w ln
        d e
        x e trusted.overlay.opaque y
        f e/only 0644 0:0 o",
        data: &[],
    },
    Layout {
        name: "three lowers",
        lowers: &[
            "
        d d
        f d/a 0644 0:0 first
        w d/b
        d e
        x e trusted.overlay.opaque y
        f e/z 0644 0:0 z",
            PLAIN,
            "
        d d
        f d/low 0644 0:0 low
        d e
        f e/hidden 0644 0:0 h
        f base 0644 1000:1000 base
        d d/sub
        f d/sub/y 0644 0:0 y",
        ],
        upper: "
        d d
        d d/sub
        w d/low",
        data: &[],
    },
    Layout {
        name: "type changes",
        lowers: &[
            "
        f d 0644 0:0 file-over-dir
        d a
        f a/x 0644 0:0 x
        l e d",
            PLAIN,
        ],
        upper: "",
        data: &[],
    },
    Layout {
        name: "deep",
        lowers: &["
        d d
        d d/sub
        d d/sub/e
        d d/sub/e/f
        f d/sub/e/f/a 0644 1000:1000 deep
        d e 0700 1000:1000
        f e/c 0600 1000:1000 private"],
        upper: "",
        data: &[],
    },
    Layout {
        name: "links",
        lowers: &["
        d d
        f d/a 0644 0:0 three
        h d/b d/a
        h a d/a
        d e
        f e/c 4755 1000:1000 two
        h e/link e/c
        l ln a
        h d/n ln"],
        upper: "",
        data: &[],
    },
    Layout {
        name: "redirects",
        lowers: &[
            "
        d d
        x d trusted.overlay.redirect e
        f d/n 0644 0:0 n
        d empty
        x empty trusted.overlay.redirect /d/sub
        d new
        x new trusted.overlay.redirect gone
        w e",
            PLAIN,
        ],
        upper: "",
        data: &[],
    },
    Layout {
        name: "moved",
        lowers: &[PLAIN],
        upper: "
        d base
        x base trusted.overlay.redirect d
        w d
        f base/n 0644 0:0 n",
        data: &[],
    },
    Layout {
        name: "metacopies",
        lowers: &[
            "
        d d
        f d/a 0600 1000:1000
        size d/a 7
        x d/a trusted.overlay.metacopy
        f a 0600 0:0
        size a 7
        x a trusted.overlay.metacopy
        x a trusted.overlay.redirect /d/b
        d e
        f e/z 0644 0:0
        x e/z trusted.overlay.metacopy",
            PLAIN,
        ],
        upper: "",
        data: &[],
    },
    Layout {
        name: "whiteouts by xattr",
        lowers: &[
            "
        d d
        x d trusted.overlay.opaque x
        f d/a 0644 0:0
        x d/a trusted.overlay.whiteout y
        f d/n 0644 0:0 n
        d e
        f e/c 0644 0:0
        x e/c trusted.overlay.whiteout y",
            PLAIN,
        ],
        upper: "",
        data: &[],
    },
    Layout {
        name: "data only",
        lowers: &["
        d d
        f d/a 0644 1000:1000
        size d/a 5
        x d/a trusted.overlay.metacopy
        x d/a trusted.overlay.redirect /sub/x
        f d/b 0600 0:0
        size d/b 6
        x d/b trusted.overlay.metacopy
        x d/b trusted.overlay.redirect /sub/y
        d e
        f e/c 4755 0:0
        size e/c 5
        x e/c trusted.overlay.metacopy
        x e/c trusted.overlay.redirect /sub/x
        f a 0644 0:0 a"],
        upper: "",
        data: &[
            "
        d sub
        f sub/x 0600 0:0 first",
            "
        d sub
        f sub/x 0644 0:0 other
        f sub/y 0644 0:0 second",
        ],
    },
    Layout {
        name: "crowded",
        lowers: &["
        d d
        f d/a 0644 0:0 a
        f d/one-of-many-00007x 0644 0:0 x
        d e
        many d 400"],
        upper: "",
        data: &[],
    },
    Layout {
        name: "flags",
        lowers: &["
        d d
        f d/a 0644 0:0 append
        f d/b 0600 1000:1000 fixed
        d d/sub
        f d/sub/x 0644 0:0 x
        d e 0777
        f e/c 0666 0:0 c
        d empty
        f empty/in 0644 0:0 in
        f a 0644 0:0 top-a
        l ln d/b
        + d/a a
        + d/b i
        + d/sub A
        + e a
        + empty i
        + a dA"],
        upper: "",
        data: &[],
    },
    Layout {
        name: "empty",
        lowers: &[""],
        upper: "",
        data: &[],
    },
];
