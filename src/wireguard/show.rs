//! What `wg show` says of the interface.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths;

/// Whether the interface is there: read without starting a process.
pub fn exists() -> bool {
    Path::new("/sys/class/net").join(paths::INTERFACE).exists()
}

/// What went one way through the interface since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// The largest packet of a handshake, an initiation.
const INITIATION_BYTES: u64 = 148;

impl Traffic {
    /// Whether there was data among what was received since `before`. Where handshakes are counted,
    /// little data looks the same as they do, and is not seen.
    pub fn has_data_since(self, before: Self, counts_handshakes: bool) -> bool {
        let packets = self.packets.saturating_sub(before.packets);
        let bytes = self.bytes.saturating_sub(before.bytes);
        let largest = if counts_handshakes {
            INITIATION_BYTES
        } else {
            0
        };
        bytes > packets.saturating_mul(largest)
    }
}

/// The interface's counters. The kernel's WireGuard counts all of its packets, handshakes and
/// keepalives included; a user-space one only what it carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: Traffic,
    pub sent: Traffic,
}

/// The counters, read without starting a process.
///
/// # Errors
/// When there is no such interface.
pub fn counters() -> io::Result<Counters> {
    let directory = Path::new("/sys/class/net")
        .join(paths::INTERFACE)
        .join("statistics");
    let count = |name| {
        let text = fs::read_to_string(directory.join(name))?;
        text.trim().parse().map_err(io::Error::other)
    };
    Ok(Counters {
        received: Traffic {
            packets: count("rx_packets")?,
            bytes: count("rx_bytes")?,
        },
        sent: Traffic {
            packets: count("tx_packets")?,
            bytes: count("tx_bytes")?,
        },
    })
}

/// Whether [`counters`] counts handshakes and keepalives: not in user space, which has a tun
/// device.
pub fn counts_handshakes() -> bool {
    let device = Path::new("/sys/class/net").join(paths::INTERFACE);
    !device.join("tun_flags").exists()
}

/// `wg show`, as people read it; wg hides the private key itself.
///
/// # Errors
/// When `wg` fails.
pub fn for_people(stop: &CancellationToken) -> Result<String, CommandError> {
    // Without this variable wg would show keys that a user's own environment asks for.
    Command::new("wg", ["show", paths::INTERFACE])
        .variable("WG_HIDE_KEYS", "always")
        .run(stop)
}

/// The peer, from `wg show wg0 dump`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// `address:port`, `None` where it is not known.
    pub endpoint: Option<String>,
    /// `None` before the first.
    pub last_handshake: Option<SystemTime>,
    /// Bytes received and sent.
    pub received: u64,
    pub sent: u64,
}

/// The peers of the interface.
///
/// # Errors
/// When there is no such interface or `wg` fails.
pub fn peers(stop: &CancellationToken) -> Result<Vec<Peer>, CommandError> {
    Ok(parse_dump(
        &Command::new("wg", ["show", paths::INTERFACE, "dump"]).run(stop)?,
    ))
}

/// The first line of a dump is the interface itself, private key included; it is skipped.
pub(super) fn parse_dump(text: &str) -> Vec<Peer> {
    text.lines().skip(1).filter_map(parse_peer).collect()
}

fn parse_peer(line: &str) -> Option<Peer> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [
        _public_key,
        _preshared,
        endpoint,
        _allowed,
        handshake,
        received,
        sent,
        ..,
    ] = fields.as_slice()
    else {
        return None;
    };
    let handshake: u64 = handshake.parse().ok()?;
    Some(Peer {
        endpoint: (*endpoint != "(none)").then(|| (*endpoint).to_owned()),
        last_handshake: SystemTime::UNIX_EPOCH
            .checked_add(Duration::from_secs(handshake))
            .filter(|_| handshake > 0),
        received: received.parse().ok()?,
        sent: sent.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_gives_its_peers_and_never_the_private_key() {
        let dump = "PRIVATE\tPUBLIC\t51820\t0xca6c\n\
                    PEER=\t(none)\t192.0.2.7:1337\t0.0.0.0/0\t1700000000\t92\t180\toff\n\
                    OTHER=\t(none)\t(none)\t0.0.0.0/0\t0\t0\t0\toff\nnonsense\n";
        let peers = parse_dump(dump);
        assert_eq!(peers.len(), 2);
        assert_eq!(peers[0].endpoint.as_deref(), Some("192.0.2.7:1337"));
        assert_eq!((peers[0].received, peers[0].sent), (92, 180));
        assert_eq!(
            (peers[1].last_handshake, peers[1].endpoint.as_deref()),
            (None, None)
        );
        assert!(!format!("{peers:?}").contains("PRIVATE"));
    }

    #[test]
    fn handshakes_and_keepalives_are_no_data() {
        let traffic = |packets, bytes| Traffic { packets, bytes };
        let came = |packets: u64, bytes: u64, counts_handshakes| {
            traffic(7 + packets, 700 + bytes).has_data_since(traffic(7, 700), counts_handshakes)
        };
        assert!(!came(0, 0, true) && !came(0, 0, false));
        assert!(!came(3, 148 + 92 + 32, true));
        assert!(came(3, 148 + 92 + 300, true));
        assert!(came(1, 28, false));
    }

    /// Beyond what the clock can count to.
    #[test]
    fn a_handshake_at_no_possible_time_is_none() {
        let dump = format!(
            "PRIVATE\tPUBLIC\t51820\t0xca6c\n\
             PEER=\t(none)\t(none)\t0.0.0.0/0\t{}\t1\t2\toff\n",
            u64::MAX
        );
        let peers = parse_dump(&dump);
        assert_eq!((peers[0].last_handshake, peers[0].sent), (None, 2));
    }
}
