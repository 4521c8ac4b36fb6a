//! Options that are wrong by themselves or do not go together.

use super::{Case, REFUSES, WORKS, case, with};

pub(super) const CASES: &[Case] = &[
    case!("no-lower", "true", "upperdir=$/u,workdir=$/w", REFUSES),
    case!(
        "no-lower",
        "true",
        "lowerdir=,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "upper-without-work",
        "true",
        "lowerdir=$/l,upperdir=$/u",
        REFUSES
    ),
    case!(
        "work-without-upper",
        "true",
        "lowerdir=$/l:$/l2,workdir=$/w",
        REFUSES
    ),
    case!("single-lower", "true", "lowerdir=$/l", WORKS),
    case!("only-data-layers", "true", "lowerdir=::$/l", REFUSES),
    case!(
        "only-data-layers",
        "true",
        "lowerdir=:$/l,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "only-datadirs",
        "true",
        "datadir+=$/l,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "colons",
        "true",
        "lowerdir=$/l:,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "colons",
        "true",
        "lowerdir=$/l:::$/l2,upperdir=$/u,workdir=$/w",
        REFUSES
    ),
    case!(
        "lower-after-data",
        "mkdir d",
        "lowerdir=$/l::$/d:$/l2",
        REFUSES
    ),
    case!(
        "too-many-lowers",
        "true",
        format!("lowerdir=/{}", ":/".repeat(500)),
        REFUSES
    ),
    case!("unknown-option", "true", with("wibble"), REFUSES),
    case!("unknown-option", "true", with("noacl"), WORKS),
    case!("bad-value", "true", with("index=maybe"), REFUSES),
    case!(
        "options-cut",
        "for n in {100..160}; do mkdir -p $/long/a-directory-with-a-rather-long-name-as-those-of-images-are/$n; done",
        format!(
            "lowerdir={},upperdir=$/u,workdir=$/w",
            (100..160)
                .map(|n| format!(
                    "$/long/a-directory-with-a-rather-long-name-as-those-of-images-are/{n}"
                ))
                .collect::<Vec<_>>()
                .join(":")
        ),
        WORKS
    ),
    case!(
        "metacopy-conflict",
        "true",
        with("metacopy=on,redirect_dir=nofollow"),
        REFUSES
    ),
    case!(
        "metacopy-conflict",
        "true",
        with("metacopy=on,redirect_dir=off"),
        REFUSES
    ),
    case!(
        "metacopy-conflict",
        "true",
        with("metacopy=on,redirect_dir=follow"),
        REFUSES
    ),
    case!(
        "nfs-export-conflict",
        "true",
        with("nfs_export=on,index=off"),
        REFUSES
    ),
    case!(
        "nfs-export-conflict",
        "true",
        with("nfs_export=on,metacopy=on"),
        REFUSES
    ),
    case!(
        "userxattr-conflict",
        "true",
        with("userxattr,redirect_dir=on"),
        WORKS
    ),
    case!(
        "userxattr-conflict",
        "true",
        with("userxattr,metacopy=on"),
        REFUSES
    ),
];
