//! tcpdump on the wire outside the container: what leaves it is seen here, or did not leave.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use std::{fs, thread};

use super::World;
use super::network::{CLIENT, CLIENT_SECOND, INTERNET, LAN};
use super::pcap::{self, Packet, Transport};
use crate::waiting::{SOON, wait_until};

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Child,
    file: PathBuf,
    bell: UdpSocket,
    /// Who is on the other end of the wire.
    neighbour: Ipv4Addr,
}

impl World {
    /// Begins to capture on the wire between container and router; listens when this returns.
    #[track_caller]
    pub fn capture(&self) -> Capture {
        self.capture_on("wire")
    }

    /// Captures on another interface of the router: `wire2`, `lan`, `wan`.
    #[track_caller]
    pub fn capture_on(&self, interface: &str) -> Capture {
        let file = self
            .files()
            .directory
            .join(self.unique("capture") + ".pcap");
        let mut command = Command::new("tcpdump");
        command
            .args([
                "-i",
                interface,
                "-n",
                "-U",
                "-B",
                "16384",
                "--immediate-mode",
                "-s",
                "0",
                "-Z",
                "root",
                "-w",
            ])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut tcpdump = self
            .router()
            .spawn(&mut command)
            .unwrap_or_else(|error| panic!("cannot start tcpdump: {error}: install tcpdump"));
        let stderr = tcpdump.stderr.take().expect("stderr is piped");
        let mut lines = BufReader::new(stderr);
        let mut said = String::new();
        while !said.contains("listening on") {
            let length = lines.read_line(&mut said).unwrap_or(0);
            assert!(length > 0, "tcpdump did not begin to listen: {said}");
        }
        // Its last words must find a reader, or they would kill it before it has written all.
        thread::spawn(move || lines.read_to_string(&mut String::new()));
        let neighbour = match interface {
            "wire2" => CLIENT_SECOND,
            "lan" => LAN,
            "wan" => INTERNET,
            _ => CLIENT,
        };
        let bell = self
            .router()
            .run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))
            .expect("a port is free");
        Capture {
            tcpdump,
            file,
            bell,
            neighbour,
        }
    }
}

impl Capture {
    /// All packets of IP's that were on the wire until now.
    #[track_caller]
    pub fn packets(&self) -> Vec<Packet> {
        let mut packets = self.packets_and_arp();
        packets.retain(|packet| packet.transport != Transport::Arp);
        packets
    }

    /// The same, with what asks for hardware addresses.
    #[track_caller]
    pub fn packets_and_arp(&self) -> Vec<Packet> {
        // The kernel hands packets over in order: when our own has arrived in the file, all
        // earlier ones have.
        let mark = format!("capture mark {:x}", fastrand::u64(..));
        let is_mark = |packet: &Packet| packet.payload == mark.as_bytes();
        wait_until("the capture's end", SOON, || {
            // One may be lost while the neighbour's hardware address is asked for.
            let _ = self.bell.send_to(mark.as_bytes(), (self.neighbour, 9));
            self.read().iter().any(is_mark)
        });
        let mut packets = self.read();
        packets.truncate(packets.iter().position(is_mark).unwrap_or(packets.len()));
        let ours = self.bell.local_addr().map_or(0, |address| address.port());
        packets.retain(|packet| !is_own(packet, self.neighbour, ours));
        packets
    }

    /// The packets that left the container for anywhere but its own network, those excepted that
    /// `allowed` accepts: what remains are leaks.
    #[track_caller]
    pub fn leaks(&self, allowed: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        let mut packets = self.packets();
        packets.retain(|packet| is_outbound(packet) && !allowed(packet));
        packets
    }

    /// The leaks from this moment on.
    #[track_caller]
    pub fn leaks_since(&self, moment: Instant, allowed: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        self.leaks(|packet| packet.at < moment || allowed(packet))
    }

    fn read(&self) -> Vec<Packet> {
        pcap::parse(&fs::read(&self.file).unwrap_or_default())
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// Whether a packet is the capture's own mark, sent from this port, or the answer to one.
fn is_own(packet: &Packet, neighbour: Ipv4Addr, port: u16) -> bool {
    let sent = packet.destination == neighbour && packet.payload.starts_with(b"capture mark ");
    // There would be an ICMP answer from a client without a firewall.
    let answer = packet.source == neighbour && packet.is_icmp();
    sent || (answer
        && packet
            .payload
            .windows(2)
            .any(|two| two == port.to_be_bytes()))
}

/// Whether a packet left the container, and its networks, for somewhere else. It may do so under
/// any source address, so that says nothing.
fn is_outbound(packet: &Packet) -> bool {
    match packet.destination {
        IpAddr::V4(to) => {
            let own = matches!(to.octets(), [172, 18 | 19, ..]);
            !own && !to.is_multicast() && !to.is_broadcast()
        }
        IpAddr::V6(to) => {
            let own = to.segments()[..3] == [0x2001, 0xdb8, 0x18];
            !own && !packet.is_ipv6_housekeeping()
        }
    }
}
