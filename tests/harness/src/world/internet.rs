//! The public hosts that are not PIA's, and what can go wrong between here and there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::network::{API, DNS, DNS_SECOND, ELSEWHERE, INSIDE, LIST, PINGABLE};
use crate::netns::Namespace;
use crate::simulator::hub::Hub;

/// What the internet does not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outage {
    /// Name servers do not answer.
    DnsSilent,
    /// Name servers' ports are closed.
    DnsRefuses,
    /// The account API does not answer.
    Api,
    /// The list host does not answer.
    List,
    /// What health checks ping does not answer.
    Pings,
    /// Nothing at all.
    Everything,
}

/// The firewall of the internet.
#[derive(Debug)]
pub struct Weather {
    internet: Arc<Namespace>,
    outages: Mutex<BTreeSet<Outage>>,
}

impl Weather {
    pub fn fair(internet: &Arc<Namespace>) -> Self {
        let weather = Self {
            internet: Arc::clone(internet),
            outages: Mutex::default(),
        };
        weather.apply(&BTreeSet::new());
        weather
    }

    pub fn set(&self, outage: Outage, on: bool) {
        let mut outages = self.outages.lock().expect("no holder of this lock panics");
        if on {
            outages.insert(outage);
        } else {
            outages.remove(&outage);
        }
        self.apply(&outages);
    }

    fn apply(&self, outages: &BTreeSet<Outage>) {
        let mut dropped = String::new();
        let mut refused = String::new();
        for outage in outages {
            match outage {
                Outage::DnsSilent => {
                    for server in [DNS, DNS_SECOND] {
                        dropped += &format!("-A PREROUTING -d {server} -j DROP\n");
                    }
                }
                Outage::DnsRefuses => {
                    for server in [DNS, DNS_SECOND] {
                        refused += &format!("-A INPUT -d {server} -p udp -j REJECT\n");
                        refused += &format!(
                            "-A INPUT -d {server} -p tcp -j REJECT --reject-with tcp-reset\n"
                        );
                    }
                }
                Outage::Api => dropped += &format!("-A PREROUTING -d {API} -p tcp -j DROP\n"),
                Outage::List => dropped += &format!("-A PREROUTING -d {LIST} -p tcp -j DROP\n"),
                Outage::Pings => {
                    for target in [API, PINGABLE] {
                        dropped += &format!("-A PREROUTING -d {target} -p icmp -j DROP\n");
                    }
                }
                Outage::Everything => dropped += "-A PREROUTING -j DROP\n-A OUTPUT -j DROP\n",
            }
        }
        self.internet.firewall(format_args!(
            "*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{dropped}COMMIT\n\
             *filter\n:INPUT ACCEPT [0:0]\n{refused}COMMIT\n\
             *nat\n:PREROUTING ACCEPT [0:0]\n\
             -A PREROUTING -d {ELSEWHERE} -p tcp -j DNAT --to-destination {ELSEWHERE}:7\n\
             -A PREROUTING -d {ELSEWHERE} -p udp -j DNAT --to-destination {ELSEWHERE}:7\n\
             COMMIT\n"
        ));
    }
}

/// Something that arrived at the host elsewhere.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub at: Instant,
    /// Who sent it, as the internet sees it.
    pub from: IpAddr,
    pub tcp: bool,
    /// The first line of it, or of a connection's first data.
    pub text: String,
}

/// What arrived elsewhere, by whatever way.
#[derive(Clone, Debug, Default)]
pub struct Arrivals(Arc<(Mutex<Vec<Arrival>>, Condvar)>);

impl Arrivals {
    pub fn all(&self) -> Vec<Arrival> {
        self.lock().clone()
    }

    /// Blocks until something like this arrived; false when it took too long.
    pub fn wait_for(&self, timeout: Duration, like: impl Fn(&Arrival) -> bool) -> bool {
        let missing = |all: &mut Vec<Arrival>| !all.iter().any(&like);
        let waited = self.0.1.wait_timeout_while(self.lock(), timeout, missing);
        !waited.expect("no holder of this lock panics").1.timed_out()
    }

    fn note(&self, from: IpAddr, tcp: bool, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        self.lock().push(Arrival {
            at: Instant::now(),
            from,
            tcp,
            text,
        });
        self.0.1.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.0.0.lock().expect("no holder of this lock panics")
    }
}

/// Serves the host elsewhere, an echo on every port, and the page inside.
pub fn serve(internet: &Namespace, hub: &Hub) -> Arrivals {
    let arrivals = Arrivals::default();
    let tcp = |address, port| TcpListener::bind((address, port)).expect("the address is ours");
    let (datagrams, connections, page) = internet.run(|| {
        let datagrams = UdpSocket::bind((ELSEWHERE, 7)).expect("the address is ours");
        (datagrams, tcp(ELSEWHERE, 7), tcp(INSIDE, 80))
    });
    let seen = arrivals.clone();
    hub.udp(datagrams, move |bytes, peer| {
        seen.note(peer.ip(), false, bytes);
        Some(bytes.to_vec())
    });
    let seen = arrivals.clone();
    hub.tcp(connections, move |stream| echo(stream, &seen));
    hub.tcp(page, show_address);
    arrivals
}

fn echo(mut stream: TcpStream, arrivals: &Arrivals) {
    let Ok(peer) = stream.peer_addr() else { return };
    let mut buffer = [0; 4096];
    arrivals.note(peer.ip(), true, b"");
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        arrivals.note(peer.ip(), true, &buffer[..length]);
        if stream.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

/// A page that holds nothing but the visitor's address.
fn show_address(mut stream: TcpStream) {
    let Ok(peer) = stream.peer_addr() else { return };
    let mut lines = BufReader::new(&stream).lines();
    while lines
        .next()
        .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
    {}
    let page = format!("{}\n", peer.ip());
    let _ = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: \
         close\r\n\r\n{page}",
        page.len()
    );
}
