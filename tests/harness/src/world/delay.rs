//! Far-away servers: connections to them take a while to be made.
//!
//! The kernel's own delay line (tc netem) is a module that many machines lack, so this is one in
//! user space. Each first packet of a connection (SYN) to port 1337 of a far address is taken off
//! its way on the internet, held for the time of a round trip, and put back. What follows it is not
//! delayed: a connect takes its time, a transfer does not.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrLike, bind, recv,
    send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::World;
use crate::netns::Namespace;
use crate::simulator::regions::BLACKHOLE;

/// Where servers take registrations.
const PORT: u16 = 1337;
/// Ethernet's header.
const ETHERNET: usize = 14;

/// Holds connections up for as long as it lives.
#[derive(Debug)]
pub struct Delay {
    over: Arc<AtomicBool>,
}

impl World {
    /// From now on a connect to port 1337 of these addresses takes so long; to those that are only
    /// in the list it takes `others`, and it succeeds, though nothing is said there.
    #[track_caller]
    pub fn delay_connects(&self, far: &[(Ipv4Addr, Duration)], others: Duration) -> Delay {
        let internet = self.internet();
        let [a, b] = BLACKHOLE;
        internet.ip("link add slow0 type veth peer name slow1\n\
             link set slow0 arp off up\nlink set slow1 arp off up\n\
             rule add pref 50 fwmark 77 table 77\nroute add default dev slow0 table 77\n\
             rule add pref 100 table local\nrule del pref 0\n");
        internet.ip(format_args!(
            "route del blackhole {a}.{b}.0.0/16\nroute add local {a}.{b}.0.0/16 dev lo\n"
        ));
        let mark = |to: &str| {
            format!(
                "-A PREROUTING -i wan -p tcp --syn -d {to} --dport {PORT} -j MARK --set-mark 77\n"
            )
        };
        let marks: String = far
            .iter()
            .map(|(address, _)| mark(&address.to_string()))
            .collect();
        internet.firewall(format_args!(
            "*mangle\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i slow1 -j DROP\n{marks}{}COMMIT\n",
            mark(&format!("{a}.{b}.0.0/16"))
        ));
        answer_silently(self, internet);
        let line =
            open(internet).unwrap_or_else(|error| panic!("cannot open the delay line: {error}"));
        let over = Arc::new(AtomicBool::new(false));
        let (ended, far) = (Arc::clone(&over), far.iter().copied().collect());
        thread::spawn(move || carry(&Arc::new(line), &far, others, &ended));
        Delay { over }
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The servers that are only names accept connections.
fn answer_silently(world: &World, internet: &Namespace) {
    let listener = internet
        .run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).expect("the port is free"));
    world.pia.hub().tcp(listener, drop);
}

/// A raw socket at the far end of the line.
fn open(internet: &Namespace) -> io::Result<OwnedFd> {
    internet.run(|| {
        let line = socket(
            AddressFamily::Packet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::EthAll,
        )?;
        let is_end = |address: &LinkAddr| address.family() == Some(AddressFamily::Packet);
        let end = getifaddrs()?.filter(|entry| entry.interface_name == "slow1");
        let end = end
            .filter_map(|entry| entry.address?.as_link_addr().copied())
            .find(is_end);
        bind(
            line.as_raw_fd(),
            &end.ok_or_else(|| io::Error::other("slow1 has no address"))?,
        )?;
        setsockopt(&line, sockopt::ReceiveTimeout, &TimeVal::milliseconds(100))?;
        Ok(line)
    })
}

fn carry(
    line: &Arc<OwnedFd>,
    far: &BTreeMap<Ipv4Addr, Duration>,
    others: Duration,
    over: &AtomicBool,
) {
    let mut buffer = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        let Ok(length) = recv(line.as_raw_fd(), &mut buffer, MsgFlags::empty()) else {
            continue;
        };
        let mut frame = buffer[..length].to_vec();
        let Some(to) = complete(&mut frame) else {
            continue;
        };
        let delay = far.get(&to).copied().unwrap_or(others);
        let line = Arc::clone(line);
        thread::spawn(move || {
            thread::sleep(delay);
            let _ = send(line.as_raw_fd(), &frame, MsgFlags::empty());
        });
    }
}

/// Writes the TCP checksum, which the kernel leaves to a network card that is not there. Returns
/// the destination; `None` for what is no TCP over IPv4.
fn complete(frame: &mut [u8]) -> Option<Ipv4Addr> {
    const IPV4: [u8; 2] = [0x08, 0x00];
    const TCP: u8 = 6;
    if frame.get(12..14)? != IPV4 || *frame.get(ETHERNET + 9)? != TCP {
        return None;
    }
    let header = usize::from(frame[ETHERNET] & 0x0f) * 4;
    let whole = usize::from(u16::from_be_bytes([
        frame[ETHERNET + 2],
        frame[ETHERNET + 3],
    ]));
    let (ip, rest) = frame
        .get_mut(ETHERNET..ETHERNET + whole)?
        .split_at_mut(header);
    rest.get_mut(16..18)?.fill(0);
    let length = u16::try_from(rest.len()).ok()?.to_be_bytes();
    let pseudo = [&ip[12..20], &[0, TCP], &length].concat();
    let words = pseudo.chunks(2).chain(rest.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let checksum = !u16::try_from(sum).expect("the carries were folded in");
    rest[16..18].copy_from_slice(&checksum.to_be_bytes());
    Some(Ipv4Addr::new(ip[16], ip[17], ip[18], ip[19]))
}
