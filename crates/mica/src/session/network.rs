//! A network of the session's own, which has nothing but the loopback device.

use mica_vfs::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// `RTM_NEWLINK`.
const NEW_LINK: u16 = 16;
/// `NLM_F_REQUEST | NLM_F_ACK`.
const REQUEST: u16 = 1 | 4;
/// `NLMSG_ERROR`, which is also how success is said.
const ANSWER: u16 = 2;
/// `IFF_UP`.
const UP: u32 = 1;
/// Of each network namespace the first device is `lo`.
const LOOPBACK: i32 = 1;

/// Brings the loopback device of this network namespace up, with its addresses (rtnetlink(7)).
pub(super) fn loopback_up() -> Result<(), Errno> {
    let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
    // NETLINK_ROUTE is the protocol that is none; the kernel is whom it is sent to without an address.
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    send(&socket, &message(), SendFlags::empty())?;
    let mut answer = [0; 256];
    let (_, len) = recv(&socket, &mut answer, RecvFlags::empty())?;
    match errno_of(answer.get(..len).unwrap_or_default()) {
        Some(0) => Ok(()),
        Some(errno) => Err(Errno::from_raw_os_error(errno.saturating_neg())),
        None => Err(Errno::PROTO),
    }
}

/// `struct nlmsghdr` and `struct ifinfomsg`.
fn message() -> Vec<u8> {
    const LEN: u32 = 32;
    let mut message = Vec::new();
    message.extend(LEN.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence and port: there is one request.
    message.extend([0; 8]);
    // Any family, any type of device.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message
}

fn errno_of(answer: &[u8]) -> Option<i32> {
    let kind: [u8; 2] = answer.get(4..6)?.try_into().ok()?;
    if u16::from_ne_bytes(kind) != ANSWER {
        return None;
    }
    Some(i32::from_ne_bytes(answer.get(16..20)?.try_into().ok()?))
}
