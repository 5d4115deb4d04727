//! `wg show wg0 dump`, for where neither kernel nor socket can be asked.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use super::{Peer, time};

/// The first line of a dump is the interface itself, private key included; it is skipped.
pub fn parse(text: &str) -> Vec<Peer> {
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
    let handshake = handshake.parse().ok()?;
    Some(Peer {
        endpoint: (*endpoint != "(none)").then(|| (*endpoint).to_owned()),
        last_handshake: time(handshake),
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
        let peers = parse(dump);
        assert_eq!(peers.len(), 2);
        assert_eq!(peers[0].endpoint.as_deref(), Some("192.0.2.7:1337"));
        assert_eq!((peers[0].received, peers[0].sent), (92, 180));
        assert_eq!(
            (peers[1].last_handshake, peers[1].endpoint.as_deref()),
            (None, None)
        );
        assert!(!format!("{peers:?}").contains("PRIVATE"));
    }

    /// Beyond what the clock can count to.
    #[test]
    fn a_handshake_at_no_possible_time_is_none() {
        let dump = format!(
            "PRIVATE\tPUBLIC\t51820\t0xca6c\n\
             PEER=\t(none)\t(none)\t0.0.0.0/0\t{}\t1\t2\toff\n",
            u64::MAX
        );
        let peers = parse(&dump);
        assert_eq!((peers[0].last_handshake, peers[0].sent), (None, 2));
    }
}
