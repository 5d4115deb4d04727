//! The configuration protocol of WireGuard in user space
//! (<https://www.wireguard.com/xplatform/#configuration-protocol>): `get=1`, and lines `key=value`
//! until `errno=`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Peer, time};
use crate::system::paths;

/// Where wireguard-go and its siblings have it.
const SOCKETS: &str = "/var/run/wireguard";
/// A line for each range of each peer: ours has one.
const MAX_ANSWER: u64 = 64 * 1024;

/// A connection to the program that carries the interface, or that has carried it. It is not waited
/// for: the queue of one that hangs may be full.
///
/// # Errors
/// When there is none, or its queue is full ([`io::ErrorKind::WouldBlock`]).
pub(in crate::wireguard) fn connect() -> io::Result<UnixStream> {
    let stream = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    stream.set_nonblocking(true)?;
    stream.connect(&SockAddr::unix(socket())?)?;
    stream.set_nonblocking(false)?;
    Ok(OwnedFd::from(stream).into())
}

/// Where that program takes questions.
pub(in crate::wireguard) fn socket() -> PathBuf {
    Path::new(SOCKETS).join(format!("{}.sock", paths::INTERFACE))
}

/// The peers of the interface.
///
/// # Errors
/// When nobody answers there within `timeout`, or refuses.
pub(in crate::wireguard) fn peers(timeout: Duration) -> io::Result<Vec<Peer>> {
    let mut stream = connect()?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"get=1\n\n")?;
    let mut lines = BufReader::new(stream.take(MAX_ANSWER));
    let mut answer = Vec::new();
    // It does not hang up: an empty line is the end.
    while !answer.ends_with(b"\n\n") {
        if lines.read_until(b'\n', &mut answer)? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    parse(&String::from_utf8_lossy(&answer))
}

/// The peers in an answer. The private key of the interface, which is in it, is skipped.
///
/// # Errors
/// When it is a refusal, or no whole answer.
pub(in crate::wireguard) fn parse(answer: &str) -> io::Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = Vec::new();
    for line in answer.lines() {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        if key == "errno" {
            return match value.parse() {
                Ok(0) => Ok(peers),
                Ok(number) => Err(io::Error::from_raw_os_error(number)),
                Err(_) => Err(io::ErrorKind::InvalidData.into()),
            };
        }
        if key == "public_key" {
            peers.push(Peer::default());
        }
        // What comes before the first peer is the interface's.
        let Some(peer) = peers.last_mut() else {
            continue;
        };
        let number = || value.parse().unwrap_or_default();
        match key {
            "endpoint" => peer.endpoint = Some(value.to_owned()),
            "last_handshake_time_sec" => peer.last_handshake = time(number()),
            "rx_bytes" => peer.received = number(),
            "tx_bytes" => peer.sent = number(),
            _ => {}
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_gives_its_peers_and_never_the_private_key() {
        let answer = "private_key=e84b5a6d\nlisten_port=12912\nfwmark=51820\n\
            public_key=b85996fe\nendpoint=192.0.2.7:1337\nlast_handshake_time_sec=1700000000\n\
            last_handshake_time_nsec=51204\ntx_bytes=180\nrx_bytes=92\nallowed_ip=0.0.0.0/0\n\
            public_key=58402e69\nlast_handshake_time_sec=0\ntx_bytes=0\nrx_bytes=0\nerrno=0\n\n";
        let peers = parse(answer).unwrap();
        assert_eq!(peers.len(), 2);
        assert_eq!(peers[0].endpoint.as_deref(), Some("192.0.2.7:1337"));
        assert_eq!((peers[0].received, peers[0].sent), (92, 180));
        assert!(peers[0].last_handshake.is_some());
        assert_eq!(peers[1], Peer::default());
        assert!(!format!("{peers:?}").contains("e84b"));
    }

    #[test]
    fn a_refusal_is_an_error_and_so_is_half_an_answer() {
        assert_eq!(parse("errno=1\n\n").unwrap_err().raw_os_error(), Some(1));
        assert!(parse("public_key=b8\n").is_err());
        assert!(parse("errno=x\n").is_err());
        assert!(parse("").is_err());
    }
}
