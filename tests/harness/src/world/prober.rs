//! Traffic that must not leave: what containers sharing the network might send, all of it, all the
//! time.
//!
//! Capabilities and users belong to processes, so probes are sent by this very program started
//! again, inside the client's network, with few privileges.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{self, Child, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{env, thread};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use socket2::{Domain, Protocol, Socket, Type};

use super::World;
use super::privileges::{DOCKER_DEFAULT, Privileges};
use super::probe::{Kind, Probe, Sender};
use crate::netns::Namespace;

/// Tells a process that it is a prober, and as whom.
const VARIABLE: &str = "WIREGUARD_PIA_PROBER";
/// The test by which the test binary becomes a prober.
const TEST: &str = "world::prober::becomes_a_prober_if_asked_to";
/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(4);
/// The mark of wg-quick, which anyone can read in `ip rule`.
const MARK: u32 = 51820;

/// Running probers; dropping them ends them.
#[derive(Debug)]
pub struct Prober(Vec<Child>);

impl World {
    /// Begins to send every kind of probe from the client's network, as both senders. The flows
    /// that are to be old exist when this returns.
    #[track_caller]
    pub fn probe(&self) -> Prober {
        let senders = [Sender::Root, Sender::User];
        let mut children: Vec<Child> = senders
            .iter()
            .map(|sender| start(self.client(), *sender))
            .collect();
        for child in &mut children {
            let stdout = child.stdout.take().expect("stdout is piped");
            // The test binary says a few lines of its own before it runs a test.
            let ready = BufReader::new(stdout).lines().map_while(Result::ok);
            let ready = ready.into_iter().any(|line| line.ends_with("ready"));
            assert!(ready, "a prober did not start");
        }
        Prober(children)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn start(network: &Arc<Namespace>, sender: Sender) -> Child {
    let program = env::current_exe().expect("a running program has a file");
    let mut command = Privileges::only(&DOCKER_DEFAULT).lasting().command(program);
    command
        .args([TEST, "--exact", "--nocapture"])
        .env(VARIABLE, format!("{sender:?}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    network
        .spawn(&mut command)
        .unwrap_or_else(|error| panic!("cannot start setpriv: {error}: install util-linux"))
}

#[test]
fn becomes_a_prober_if_asked_to() {
    become_one_if_asked_to();
}

/// Probes until killed, if this process was started for that. Programs that use [`World::probe`]
/// call this first.
pub fn become_one_if_asked_to() {
    let sender = match env::var(VARIABLE).as_deref() {
        Ok("Root") => Sender::Root,
        Ok("User") => Sender::User,
        _ => return,
    };
    if let Err(error) = run(sender) {
        eprintln!("prober: {error}");
    }
    process::exit(1);
}

fn run(sender: Sender) -> io::Result<()> {
    if sender == Sender::User {
        let (user, group) = (Uid::from_raw(1000), Gid::from_raw(1000));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    let probes = Probe::all()
        .into_iter()
        .filter(|probe| probe.sender == sender);
    let flows: Vec<Flow> = probes.map(Flow::open).collect::<io::Result<_>>()?;
    println!("ready");
    io::stdout().flush()?;
    loop {
        for flow in &flows {
            flow.send();
        }
        thread::sleep(PAUSE);
    }
}

/// A probe and its socket, where it keeps one.
struct Flow {
    probe: Probe,
    socket: Option<Socket>,
}

impl Flow {
    fn open(probe: Probe) -> io::Result<Self> {
        let socket = match probe.kind {
            Kind::OldTcp => TcpStream::connect_timeout(&probe.target(), Duration::from_secs(2))
                .map(|stream| Some(Socket::from(stream))),
            Kind::Tcp | Kind::TcpV6 | Kind::MarkedTcp | Kind::BoundTcp => Ok(None),
            _ => socket(probe).map(Some),
        };
        // Where nothing gets out any more, there can be no old flows: the others are still sent.
        let socket = if probe.kind == Kind::OldTcp {
            socket.unwrap_or(None)
        } else {
            socket?
        };
        if let Some(socket) = &socket {
            socket.set_nonblocking(true)?;
        }
        if let (Kind::OldUdp, Some(socket)) = (probe.kind, &socket) {
            let _ = socket.connect(&probe.target().into());
            let _ = socket.send(&probe.payload());
        }
        Ok(Self { probe, socket })
    }

    /// Sends once. A refusal is what the test hopes for.
    fn send(&self) {
        let target = self.probe.target().into();
        match (&self.socket, self.probe.kind) {
            (Some(socket), Kind::OldUdp | Kind::OldTcp) => {
                let _ = socket.send(&self.probe.payload());
            }
            (Some(socket), Kind::Icmp) => {
                let _ = socket.send_to(&checked(self.probe.payload()), &target);
            }
            (Some(socket), _) => {
                let _ = socket.send_to(&self.probe.payload(), &target);
            }
            (None, Kind::OldTcp) => {}
            (None, _) => {
                let attempt = socket(self.probe).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    socket.connect(&target)
                });
                drop(attempt);
            }
        }
    }
}

fn socket(probe: Probe) -> io::Result<Socket> {
    let domain = if probe.target().is_ipv6() {
        Domain::IPV6
    } else {
        Domain::IPV4
    };
    let (kind, protocol) = match probe.kind {
        Kind::Tcp | Kind::TcpV6 | Kind::MarkedTcp | Kind::BoundTcp => (Type::STREAM, None),
        Kind::Icmp => (Type::RAW, Some(Protocol::ICMPV4)),
        _ => (Type::DGRAM, None),
    };
    let socket = Socket::new(domain, kind, protocol)?;
    match probe.kind {
        Kind::MarkedUdp | Kind::MarkedTcp => socket.set_mark(MARK)?,
        Kind::BoundUdp | Kind::BoundTcp => socket.bind_device(Some(b"eth0"))?,
        _ => {}
    }
    Ok(socket)
}

/// Fills in the checksum of an ICMP message.
fn checked(mut message: Vec<u8>) -> Vec<u8> {
    let words = message
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(*two.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap_or_default();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    message
}
