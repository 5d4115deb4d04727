//! A world in a box: an internet with PIA in it, a home router, and a place for the container.
//!
//! ```ignore
//! let world = World::new();
//! let container = world.container(PROGRAM).env("LOC", "swiss").start();
//! container.wait_for_log(UP, SOON);
//! assert_eq!(world.server_in_use().plan().location, "swiss");
//! ```
//!
//! Everything in it is gone when the world is dropped, also when a test panics.

pub mod builder;
pub mod capture;
mod cgroup;
pub mod container;
pub mod delay;
pub mod docker_dns;
pub mod home;
pub mod inspect;
pub mod internet;
pub mod journal;
pub mod network;
pub mod pcap;
mod preflight;
pub mod privileges;
pub mod prober;
pub mod process;
pub mod reap;
pub mod recipe;
pub mod rest;
mod rootfs;
pub mod watch;
pub mod ways_out;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fmt, fs, thread};

use builder::Builder;
use internet::{Arrivals, Outage, Weather};
use network::{API, DNS, DNS_SECOND, DNS_V6, ELSEWHERE, INSIDE, LIST, Network, PINGABLE};
use privileges::Privileges;

use crate::netns::Namespace;
use crate::simulator::keys::Keys;
use crate::simulator::{API_HOST, LIST_HOST, Simulator, certificates};

/// What does not answer by then does not answer. Whoever expects an answer asks again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Files that a container is given.
#[derive(Clone, Debug)]
pub struct Files {
    /// For the files of this world; everything in it goes with the world.
    pub directory: PathBuf,
    /// `rsa_4096.crt`
    pub pia_ca: PathBuf,
    /// `RegionsListPubKey.pem`
    pub list_key: PathBuf,
    /// The authorities of the public web.
    pub web_ca: PathBuf,
}

/// An internet with PIA in it, and a home.
pub struct World {
    pub pia: Simulator,
    /// What arrived at the host elsewhere.
    pub elsewhere: Arrivals,
    weather: Weather,
    network: Network,
    files: Files,
    prefix: String,
    next: AtomicU32,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// The usual world.
    pub fn new() -> Self {
        Self::builder().build()
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    fn build(builder: &Builder) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let pid = std::process::id();
        let prefix = format!("{}{pid}-{number}", reap::PREFIX);
        let files = Files::write(&reap::directory(&prefix));
        let network = Network::build(&prefix, &builder.shape);
        for (variable, value) in &builder.sysctls {
            network.client.sysctl(variable, value);
        }
        let pia = Simulator::default();
        thread::scope(|scope| {
            for (index, plan) in builder.plans().into_iter().enumerate() {
                let (pia, namespace) = (&pia, &network.servers[index]);
                let interface = format!("w{pid}-{number}-{index}");
                scope.spawn(move || pia.start_server(namespace, &interface, plan));
            }
        });
        let weather = Weather::fair(&network.internet);
        serve_pia(&pia, &network.internet);
        let elsewhere = internet::serve(&network.internet, pia.hub());
        Self {
            pia,
            elsewhere,
            weather,
            network,
            files,
            prefix,
            next: AtomicU32::new(0),
        }
    }

    pub fn files(&self) -> &Files {
        &self.files
    }

    /// The container's network.
    pub fn client(&self) -> &Arc<Namespace> {
        &self.network.client
    }

    /// The other end of the container's wire.
    pub fn router(&self) -> &Arc<Namespace> {
        &self.network.router
    }

    /// A host of the local network.
    pub fn lan(&self) -> &Arc<Namespace> {
        &self.network.lan
    }

    pub fn internet(&self) -> &Arc<Namespace> {
        &self.network.internet
    }

    /// The host behind the container.
    #[track_caller]
    pub fn behind(&self) -> &Arc<Namespace> {
        self.network
            .behind
            .as_ref()
            .expect("this world was built without a host behind the client")
    }

    // What can go wrong with the internet.

    /// Lets something fail until [`World::end`].
    pub fn begin(&self, outage: Outage) {
        self.weather.set(outage, true);
    }

    pub fn end(&self, outage: Outage) {
        self.weather.set(outage, false);
    }

    /// Packets of more than this many bytes do not get from the router to the internet, nor back.
    /// Who sends them is told, and whoever allows it has them cut up.
    pub fn narrow(&self, mtu: u32) {
        self.network.narrow(mtu, true);
    }

    /// The same, but nobody is told.
    pub fn narrow_silently(&self, mtu: u32) {
        self.network.narrow(mtu, false);
    }

    // Looking around.

    /// The visitor's address that the page inside shows to this place.
    pub fn address_seen_from(&self, place: &Namespace) -> Option<Ipv4Addr> {
        let request = format!("GET / HTTP/1.1\r\nHost: {INSIDE}\r\n\r\n");
        let answer = converse(place, (INSIDE, 80).into(), ANSWER_TIMEOUT, &request)?;
        answer.lines().last()?.parse().ok()
    }

    /// Runs a program as another container of the same network would, and waits for it.
    #[track_caller]
    pub fn beside(&self, privileges: &Privileges, words: &[&str]) -> Output {
        let mut command = privileges.command(words[0]);
        let output = self
            .client()
            .output(command.args(&words[1..]).stdin(Stdio::null()));
        output.unwrap_or_else(|error| panic!("cannot run {words:?}: {error}"))
    }

    /// Whether a tunnel takes no wireguard-go.
    pub fn kernel_has_wireguard(&self) -> bool {
        let ip = |words: &str| {
            let ran = self.lan().output(Command::new("ip").args(words.split(' ')));
            ran.is_ok_and(|output| output.status.success())
        };
        ip("link add probe type wireguard") && ip("link delete probe")
    }

    /// What a host on the internet gets to read when it connects to this address and says nothing.
    pub fn knock_from_internet(&self, address: IpAddr, port: u16) -> Option<String> {
        converse(self.internet(), (address, port).into(), ANSWER_TIMEOUT, "")
    }

    /// A name for something in this world that no other world uses.
    fn unique(&self, kind: &str) -> String {
        format!(
            "{}-{kind}{}",
            self.prefix,
            self.next.fetch_add(1, Ordering::SeqCst)
        )
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("World");
        shown.field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.files.directory);
    }
}

impl Files {
    fn write(directory: &Path) -> Self {
        let written = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).expect("the world's directory is writable");
            path
        };
        fs::create_dir_all(directory).unwrap_or_else(|error| {
            panic!(
                "cannot make {}: {error}: a tmpfs is needed there",
                directory.display()
            )
        });
        Self {
            directory: directory.to_owned(),
            pia_ca: written("rsa_4096.crt", &certificates::pia_authority()),
            list_key: written("RegionsListPubKey.pem", &Keys::shared().list_public),
            web_ca: written("web-authorities.pem", &certificates::web_authority()),
        }
    }
}

fn serve_pia(pia: &Simulator, internet: &Namespace) {
    for (name, address) in [
        (API_HOST, API),
        (LIST_HOST, LIST),
        ("elsewhere.test", ELSEWHERE),
        ("inside.test", INSIDE),
        ("one.one.one.one", PINGABLE),
    ] {
        pia.names().set(name, &[address]);
    }
    let tcp =
        |address: Ipv4Addr, port| TcpListener::bind((address, port)).expect("the address is ours");
    let (api, list, resolvers) = internet.run(|| {
        let resolvers = [DNS.into(), DNS_SECOND.into(), IpAddr::V6(DNS_V6)].map(|address| {
            (
                UdpSocket::bind((address, 53)).expect("the address is ours"),
                TcpListener::bind((address, 53)).expect("the address is ours"),
            )
        });
        (tcp(API, 443), tcp(LIST, 443), resolvers)
    });
    pia.serve_api(api);
    pia.serve_list(list);
    for (udp, tcp) in resolvers {
        pia.serve_dns(udp, tcp);
    }
}

/// Says something to somebody, and hears the answer to its end.
fn converse(place: &Namespace, to: SocketAddr, patience: Duration, text: &str) -> Option<String> {
    let mut stream = place
        .run(|| TcpStream::connect_timeout(&to, patience))
        .ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.write_all(text.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
