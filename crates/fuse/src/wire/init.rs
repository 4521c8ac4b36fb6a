//! The negotiation.

use super::wire;

wire! {
    /// `struct fuse_init_in` up to 7.35.
    InitInLegacy = 16 {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
    }
}

wire! {
    /// `struct fuse_init_in` from 7.36 on, sent with `FUSE_INIT_EXT`.
    InitIn = 64 {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
        flags2: u32,
        unused: [u32; 11],
    }
}

wire! {
    /// `struct fuse_init_out`, 64 bytes long since 7.23; later versions gave meaning to what was reserved.
    InitOut = 64 {
        major: u32,
        minor: u32,
        max_readahead: u32,
        flags: u32,
        max_background: u16,
        congestion_threshold: u16,
        max_write: u32,
        time_gran: u32,
        max_pages: u16,
        map_alignment: u16,
        flags2: u32,
        max_stack_depth: u32,
        request_timeout: u16,
        unused: [u16; 11],
    }
}
