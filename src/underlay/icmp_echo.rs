//! ICMP echo (RFC 792) over a socket that is bound to an interface. Which targets matter is not
//! known here.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::deadline::Deadline;
use crate::system::cancellation::CancellationToken;
use crate::system::readiness;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const HEADER_LENGTH: usize = 8;
/// Requests are repeated at this interval, as packets get lost: over a link that loses every third
/// packet each way, one of ten answers comes in nearly every case.
const REPEAT_INTERVAL: Duration = Duration::from_millis(300);

/// Waits for an answer from `address` until `deadline`.
///
/// # Errors
/// When there is none, or no socket for the question can be had. `PermissionDenied` where nothing
/// could be asked at all, as a packet filter of this machine let no request out.
pub fn answered(
    interface: &str,
    address: Ipv4Addr,
    deadline: Deadline,
    stop: &CancellationToken,
) -> io::Result<()> {
    let (mut socket, raw) = socket(interface).map_err(io::Error::other)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddrV4::new(address, 0).into())?;
    // The kernel gives a ping socket an identifier of its own and only its own replies; on a raw
    // socket, ours tells our replies from others.
    let identifier = fastrand::u16(..);
    let mut requests = Requests::default();
    let mut ask_again = Deadline::after(Duration::ZERO);
    loop {
        if ask_again.left().is_zero() {
            let request = request(identifier, requests.next());
            // The interface may be gone for a moment, and full queues empty themselves.
            if let Err(error) = requests.note(socket.write_all(&request)) {
                log::debug!("ping {address}: {error}");
            }
            ask_again = Deadline::after(REPEAT_INTERVAL);
        }
        let left = deadline.left();
        if left.is_zero() {
            return Err(requests.failure());
        }
        let timeout = ask_again.left().min(left);
        if readiness::wait(&[socket.as_fd()], timeout, stop).is_err() {
            return Err(requests.failure());
        }
        let mut buffer = [0; 512];
        match socket.read(&mut buffer) {
            Ok(length)
                if is_reply(
                    buffer.get(..length).unwrap_or_default(),
                    raw.then_some(identifier),
                ) =>
            {
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // An ICMP error from the way, such as "unreachable", may be gone at the next request.
            Err(error) => log::debug!("ping {address}: {error}"),
        }
    }
}

/// What became of the requests to one target.
#[derive(Debug, Default)]
struct Requests {
    sequence: u16,
    was_any_sent: bool,
    /// Those that our own packet filter did not let out.
    was_any_refused: bool,
}

impl Requests {
    /// The number of the next one.
    fn next(&mut self) -> u16 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn note(&mut self, sent: io::Result<()>) -> io::Result<()> {
        match &sent {
            Ok(()) => self.was_any_sent = true,
            Err(error) => self.was_any_refused |= error.kind() == ErrorKind::PermissionDenied,
        }
        sent
    }

    /// What it means that there is no answer.
    fn failure(&self) -> io::Error {
        if self.was_any_refused && !self.was_any_sent {
            let why = "this machine's packet filter lets no echo out";
            return io::Error::new(ErrorKind::PermissionDenied, why);
        }
        io::Error::new(ErrorKind::TimedOut, "no answer")
    }
}

/// A ping socket, which needs no capability where `net.ipv4.ping_group_range` allows it, else a raw
/// one (NET_RAW).
pub(super) fn socket(interface: &str) -> io::Result<(Socket, bool)> {
    let made = |kind| Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4));
    let (socket, raw) = match made(Type::DGRAM) {
        Ok(socket) => (socket, false),
        Err(_) => {
            let socket = made(Type::RAW).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("{error}; add `cap_add: [NET_RAW]`, or set net.ipv4.ping_group_range"),
                )
            })?;
            (socket, true)
        }
    };
    socket.bind_device(Some(interface.as_bytes()))?;
    Ok((socket, raw))
}

pub(super) fn request(identifier: u16, sequence: u16) -> [u8; HEADER_LENGTH] {
    let mut packet = [ECHO_REQUEST, 0, 0, 0, 0, 0, 0, 0];
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let checksum = checksum(&packet);
    packet[2..4].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// The one's complement sum of RFC 1071.
fn checksum(packet: &[u8]) -> u16 {
    let high = packet.iter().step_by(2).map(|byte| u32::from(*byte) << 8);
    let low = packet
        .iter()
        .skip(1)
        .step_by(2)
        .map(|byte| u32::from(*byte));
    let mut sum: u32 = high.chain(low).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff).wrapping_add(sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
}

/// `identifier` is given for a raw socket, which gets all replies of the machine, each with its IP
/// header.
pub(super) fn is_reply(datagram: &[u8], identifier: Option<u16>) -> bool {
    reply(datagram, identifier).is_some()
}

/// The sequence number of a reply; `identifier` as above.
pub(super) fn reply(datagram: &[u8], identifier: Option<u16>) -> Option<u16> {
    let header = match identifier {
        Some(_) => datagram
            .first()
            .map_or(0, |first| usize::from(first & 0x0f) * 4),
        None => 0,
    };
    let (message, _) = datagram
        .get(header..)?
        .split_first_chunk::<HEADER_LENGTH>()?;
    let [kind, _, _, _, name_high, name_low, high, low] = *message;
    let name = u16::from_be_bytes([name_high, name_low]);
    let ours = identifier.is_none_or(|identifier| name == identifier);
    (kind == ECHO_REPLY && ours).then_some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_sums_up_to_nothing() {
        assert_eq!(checksum(&request(0xabcd, 7)), 0);
    }

    /// Our own filter refuses everything for a moment while it is loaded.
    #[test]
    fn what_was_never_sent_is_told_from_what_was_not_answered() {
        let failure = |sent: &[io::Result<()>]| {
            let mut requests = Requests::default();
            for outcome in sent {
                let outcome = outcome.as_ref().copied();
                let outcome = outcome.map_err(|error| error.kind().into());
                let _ = requests.note(outcome);
            }
            requests.failure().kind()
        };
        let refused = || Err(ErrorKind::PermissionDenied.into());
        assert_eq!(
            failure(&[refused(), refused()]),
            ErrorKind::PermissionDenied
        );
        assert_eq!(failure(&[refused(), Ok(())]), ErrorKind::TimedOut);
        assert_eq!(failure(&[Ok(())]), ErrorKind::TimedOut);
        let gone = Err(ErrorKind::NetworkDown.into());
        assert_eq!(failure(&[gone]), ErrorKind::TimedOut);
    }

    #[test]
    fn only_our_own_replies_count_on_a_raw_socket() {
        let mut datagram = vec![0x45; 20];
        datagram.extend([ECHO_REPLY, 0, 0, 0, 0xab, 0xcd, 0, 1]);
        assert_eq!(reply(&datagram, Some(0xabcd)), Some(1));
        assert!(!is_reply(&datagram, Some(0xabce)));
        assert!(!is_reply(&[], Some(1)));
        assert!(!is_reply(&request(1, 1), None));
    }
}
