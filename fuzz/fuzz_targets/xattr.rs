//! What the overlay reads from extended attributes of a layer, and the escaping of their names.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mica_overlay::{
    Origin, XattrNamespace, escape, parse_metacopy, parse_opaque, parse_redirect, unescape,
};

fuzz_target!(|data: &[u8]| {
    let _ = (
        parse_opaque(data),
        parse_redirect(data),
        parse_metacopy(data),
    );
    if let Ok(origin) = Origin::parse(data) {
        let again = Origin::parse(&origin.encode());
        assert_eq!(
            again,
            Ok(origin),
            "an origin that was written is read as it was"
        );
    }
    if let Some(recorded) = mica_host::Recorded::parse(data) {
        let again = mica_host::Recorded::parse(recorded.format().as_bytes());
        assert_eq!(
            again,
            Some(recorded),
            "an owner that was written is read as it was"
        );
    }
    for namespace in [XattrNamespace::Trusted, XattrNamespace::User] {
        let prefix = namespace.prefix();
        // Most random names have another prefix.
        for name in [data.to_vec(), [prefix, data].concat()] {
            if let Ok(stored) = escape(prefix, &name) {
                assert_eq!(
                    unescape(prefix, &stored).as_deref(),
                    Some(&name[..]),
                    "escaped and back"
                );
            }
            if let Some(seen) = unescape(prefix, &name)
                && let Ok(stored) = escape(prefix, &seen)
            {
                assert_eq!(&stored[..], &name[..], "unescaped and back");
            }
        }
    }
});
