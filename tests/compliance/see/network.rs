//! Packets that pass or do not, routes, and rules.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use harness::netns::Namespace;
use harness::waiting::bind_when_free;
use harness::world::World;
use harness::world::network::{ELSEWHERE, LAN};
use socket2::{Domain, Socket, Type};

use super::{Check, now, so, soon, wait_for_port};
use crate::life::Stage;

/// What does not answer by then does not answer.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(1500);

// Routes and rules.

/// Where the kernel would send a packet to.
pub fn route(to: impl Into<String>, device: &'static str) -> Check {
    let to = to.into();
    now(move |stage| {
        let (_, text) = stage.shell(&format!("ip -4 route get {to}"));
        so(text.contains(&format!("dev {device} ")), || text.clone())
    })
}

/// A line of `ip rule`.
pub fn routing_rule(text: &'static str) -> Check {
    now(move |stage| {
        let rules = stage.world.look("ip -4 rule");
        so(rules.contains(text), || rules.clone())
    })
}

/// No line of `ip rule` has this.
pub fn no_routing_rule(text: &'static str) -> Check {
    now(move |stage| {
        let rules = stage.world.look("ip -4 rule");
        so(!rules.contains(text), || rules.clone())
    })
}

/// The filter table has this, say a policy.
pub fn filter_has(text: &'static str) -> Check {
    now(move |stage| {
        let rules = stage.world.look("iptables-save -t filter");
        so(rules.contains(text), || rules.clone())
    })
}

// Packets.

/// The container's traffic leaves by a server of this location.
pub fn leaves_by(location: &'static str) -> Check {
    soon(move |stage| {
        let world = &stage.world;
        let visitor = world.address_seen_from(world.client());
        let servers = world.pia.servers_of(location);
        let by = servers
            .iter()
            .any(|server| visitor.is_some_and(|visitor| server.exits().contains(&visitor)));
        so(by, || format!("it is seen as {visitor:?}"))
    })
}

/// Where a sibling's connection begins and ends.
fn by_the_wire(stage: &Stage, to: (Ipv4Addr, u16), mark: u32) -> bool {
    let connect = || -> std::io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind_device(Some(b"eth0"))?;
        socket.set_mark(mark)?;
        socket.connect_timeout(&SocketAddr::from(to).into(), ANSWER_TIMEOUT)
    };
    stage.world.client().run(connect).is_ok()
}

/// A connection past the tunnel gets out.
pub fn open() -> Check {
    soon(|stage| {
        so(by_the_wire(stage, (ELSEWHERE, 7), 0), || {
            "nothing gets out".to_owned()
        })
    })
}

/// No connection past the tunnel gets out.
pub fn closed() -> Check {
    now(|stage| {
        so(!by_the_wire(stage, (ELSEWHERE, 7), 0), || {
            "it gets out".to_owned()
        })
    })
}

/// Nor does one with the tunnel's own mark.
pub fn closed_to_marked() -> Check {
    now(|stage| {
        so(!by_the_wire(stage, (ELSEWHERE, 7), 51820), || {
            "it gets out".to_owned()
        })
    })
}

/// Two places, and whether each reaches the other.
pub fn mutual(place: fn(&World) -> &Namespace, there: Ipv4Addr, here: Ipv4Addr) -> Check {
    now(move |stage| {
        let (client, place) = (stage.world.client(), place(&stage.world));
        let ((_out, out), (_in, into)) = (place.listen(), client.listen());
        let ways = (client.reaches((there, out)), place.reaches((here, into)));
        so(ways == (true, true), || format!("out and in: {ways:?}"))
    })
}

pub fn apart(place: fn(&World) -> &Namespace, there: Ipv4Addr, here: Ipv4Addr) -> Check {
    now(move |stage| {
        let (client, place) = (stage.world.client(), place(&stage.world));
        let ((_out, out), (_in, into)) = (place.listen(), client.listen());
        let kept = (
            client.is_kept_from((there, out)),
            place.is_kept_from((here, into)),
        );
        so(kept == (true, true), || {
            format!("kept out and in: {kept:?}")
        })
    })
}

/// The container reaches the host of the local network.
pub fn reaches_lan() -> Check {
    now(|stage| {
        let (_lan, port) = stage.world.lan().listen();
        let reached = stage.world.client().reaches((LAN, port));
        so(reached, || "the LAN is out of reach".to_owned())
    })
}

/// Somebody at this place is reached by the forwarded port of the server, by TCP and UDP.
pub fn port_leads_to(place: fn(&World) -> &Namespace) -> Check {
    now(move |stage| {
        let port = wait_for_port(stage);
        let any = (Ipv4Addr::UNSPECIFIED, port);
        let place = place(&stage.world);
        let _listener = place.run(|| bind_when_free(|| TcpListener::bind(any)));
        let listener = place.run(|| bind_when_free(|| UdpSocket::bind(any)));
        let limited = listener.set_read_timeout(Some(ANSWER_TIMEOUT));
        limited.expect("a socket has a timeout");
        let internet = stage.world.internet();
        let server = stage.world.server_in_use().address();
        let by_tcp = internet.reaches((server, port));
        let by_udp = (0..3).any(|_| {
            // A flow that began before the rule was there goes on without it.
            let sender = internet.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)));
            let sent = sender.and_then(|sender| sender.send_to(b"hello", (server, port)));
            sent.is_ok() && listener.recv(&mut [0; 8]).is_ok()
        });
        so(by_tcp && by_udp, || {
            format!("by TCP {by_tcp}, by UDP {by_udp}")
        })
    })
}
