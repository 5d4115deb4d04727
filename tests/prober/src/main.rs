//! Tries every way out of a network that is not the tunnel.
//!
//! ```text
//! prober keep-on SENDER PLACE...   the steady ones of SENDER's, all the time; says "ready" first
//! prober all SENDER PLACE...       all of SENDER's likewise; says "round" after each round
//! prober once PLACE...             everything that root can send, and whether it could
//! prober ports                     the destination ports by which the latter are known
//! prober announce INTERFACE PREFIX sends router advertisements all the time; says "ready" first
//! ```
//!
//! PLACE... is the interface to get out by, the name server, the IPv4 and the IPv6 address of a
//! host elsewhere, the account API's address, and, for all, the gateway, the VPN server's endpoint
//! and the gateway's IPv6 address.

mod announce;
mod flow;
mod packet;

use std::error::Error;
use std::io::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use prober::{Kind, Probe, Sender, Targets};

use self::flow::{Flow, Place};

/// Between two rounds.
const PAUSE: Duration = Duration::from_millis(4);
/// The same where all is sent, which is much.
const LONG_PAUSE: Duration = Duration::from_millis(15);
/// The endpoint where none is named.
const UNKNOWN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
/// Until a packet has found its neighbour's hardware address, and has left.
const UNDER_WAY: Duration = Duration::from_millis(300);
/// How often the gateway is looked for.
const MAX_ROUNDS: usize = 5;
/// The port whose service answers nothing.
const DISCARD: u16 = 9;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["keep-on", sender, place @ ..] => keep_on(sender, place),
        ["all", sender, place @ ..] => all(sender, place),
        ["once", place @ ..] => once(place),
        ["ports"] => {
            ports();
            Ok(())
        }
        ["announce", interface, prefix] => announce(interface, prefix),
        _ => Err(
            "usage: prober keep-on|all SENDER PLACE... | once PLACE... | ports | announce \
                  INTERFACE PREFIX"
                .into(),
        ),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("prober: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: &[&str]) -> Result<Place, Box<dyn Error>> {
    let [
        interface,
        name_server,
        elsewhere,
        elsewhere_v6,
        api,
        more @ ..,
    ] = words
    else {
        return Err("PLACE is INTERFACE NAME_SERVER ELSEWHERE ELSEWHERE_V6 API".into());
    };
    let (gateway, endpoint, gateway_v6) = match more {
        [gateway, endpoint, v6] => (gateway.parse()?, endpoint.parse()?, v6.parse()?),
        _ => (Ipv4Addr::UNSPECIFIED, UNKNOWN, Ipv6Addr::UNSPECIFIED),
    };
    Ok(Place {
        interface: (*interface).to_owned(),
        targets: Targets {
            name_server: name_server.parse()?,
            elsewhere: elsewhere.parse()?,
            elsewhere_v6: elsewhere_v6.parse()?,
            api: api.parse()?,
            gateway,
            gateway_v6,
            endpoint,
        },
    })
}

fn announce(interface: &str, prefix: &str) -> Result<(), Box<dyn Error>> {
    match announce::announce(interface, prefix.parse()?)? {}
}

/// Sends until killed.
fn keep_on(sender: &str, place: &[&str]) -> Result<(), Box<dyn Error>> {
    let sender = become_one(sender)?;
    let place = parse(place)?;
    let flows = open(Probe::steady(), sender, &place)?;
    say("ready")?;
    loop {
        send(&flows);
        thread::sleep(PAUSE);
    }
}

fn all(sender: &str, place: &[&str]) -> Result<(), Box<dyn Error>> {
    let sender = become_one(sender)?;
    let place = parse(place)?;
    let (possible, impossible): (Vec<_>, Vec<_>) = Probe::every()
        .filter(|probe| probe.sender == sender)
        .partition(|probe| probe.is_possible());
    for probe in impossible {
        if Flow::open(probe, &place)
            .and_then(|flow| flow.send())
            .is_ok()
        {
            return Err(format!("{probe} needs no privilege").into());
        }
    }
    let flows = open(possible, sender, &place)?;
    say("ready")?;
    loop {
        send(&flows);
        say("round")?;
        thread::sleep(LONG_PAUSE);
    }
}

fn open(
    probes: impl IntoIterator<Item = Probe>,
    sender: Sender,
    place: &Place,
) -> io::Result<Vec<Flow>> {
    let own = probes.into_iter().filter(|probe| probe.sender == sender);
    own.map(|probe| Flow::open(probe, place)).collect()
}

fn send(flows: &[Flow]) {
    for flow in flows {
        // A refusal is what the test hopes for.
        let _ = flow.send();
    }
}

fn say(word: &str) -> io::Result<()> {
    println!("{word}");
    io::stdout().flush()
}

/// Those with fewer privileges than ours we become ourselves, or are.
fn become_one(name: &str) -> Result<Sender, Box<dyn Error>> {
    match name {
        "root" => Ok(Sender::Root),
        "bare" => Ok(Sender::Bare),
        "user" => {
            let (user, group) = (Uid::from_raw(1000), Gid::from_raw(1000));
            setgroups(&[])?;
            setresgid(group, group, group)?;
            setresuid(user, user, user)?;
            Ok(Sender::User)
        }
        _ => Err(format!("nobody is called {name}").into()),
    }
}

/// Sends each of root's probes once. What is refused here is as good as what is dropped later; the
/// wire decides.
fn once(place: &[&str]) -> Result<(), Box<dyn Error>> {
    let place = parse(place)?;
    let mut open = Vec::new();
    meet_gateway(&place);
    for probe in Probe::common() {
        if probe.sender != Sender::Root {
            continue;
        }
        let sent = Flow::open(probe, &place).and_then(|flow| Ok((flow.send()?, flow)));
        match sent {
            Ok(sent) => {
                println!("{probe}: sent");
                open.push(sent);
            }
            Err(error) => println!("{probe}: refused: {error}"),
        }
    }
    thread::sleep(UNDER_WAY);
    Ok(())
}

/// Has the kernel find the gateway's hardware address, if it may: what is sent before waits in a
/// queue, whose end is lost, and frames need the address.
fn meet_gateway(place: &Place) {
    let elsewhere = SocketAddr::from((place.targets.elsewhere, DISCARD));
    for _ in 0..MAX_ROUNDS {
        if packet::gateway(&place.interface).is_some() {
            return;
        }
        // Nobody is there: only the question for the gateway matters.
        let _ = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"", elsewhere));
        thread::sleep(UNDER_WAY);
    }
}

/// Each with the name of the probe.
fn ports() {
    let nowhere = Targets {
        name_server: [0; 4].into(),
        elsewhere: [0; 4].into(),
        elsewhere_v6: [0; 16].into(),
        api: [0; 4].into(),
        gateway: [0; 4].into(),
        gateway_v6: [0; 16].into(),
        endpoint: UNKNOWN,
    };
    for probe in Probe::common() {
        if probe.sender == Sender::Root && probe.kind != Kind::Icmp {
            println!("{} {probe}", probe.target(&nowhere).port());
        }
    }
}
