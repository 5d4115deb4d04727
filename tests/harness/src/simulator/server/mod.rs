//! One VPN server: registration, a real WireGuard tunnel, and port forwarding inside it.

mod disturbances;
mod service;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};

use disturbances::Disturbance;
use serde_json::Value;

use super::certificates::{self, Cert};
use super::faults::Api;
use super::http::{Reply, Request};
use super::https::Site;
use super::hub::Hub;
use super::records::BoundPort;
use super::wireguard::Interface;
use super::{Shared, dns};
use crate::netns::Namespace;

/// The name servers inside every tunnel.
pub const TUNNEL_DNS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 243), Ipv4Addr::new(10, 0, 0, 242)];

/// What a server is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    pub location: String,
    pub cn: String,
    /// The name of the meta service at the same address.
    pub meta_cn: String,
    /// The public address.
    pub address: Ipv4Addr,
    /// The UDP port of WireGuard.
    pub port: u16,
    /// The server's address inside the tunnel; its clients get addresses next to it.
    pub vip: Ipv4Addr,
    pub certificate: Cert,
    /// Other public addresses of the host: connections come in by all of them, and leave by some at
    /// random.
    pub rotation: Vec<Ipv4Addr>,
    /// Newer hosts show a foreign certificate and no API on the meta port.
    pub meta_certificate: Cert,
}

#[derive(Debug)]
struct Peer {
    owner: String,
    key: String,
    address: Ipv4Addr,
}

#[derive(Debug, Default)]
struct State {
    peers: Vec<Peer>,
    ports: Vec<BoundPort>,
    taken: u8,
    refusal: Option<String>,
    wrong_key: bool,
    /// Fields of the answer to `addKey` with other values than they should have.
    untruths: HashMap<String, Value>,
    no_free_ports: bool,
    keeps_addresses: bool,
    writes_lengths: bool,
    at_public_address: PortService,
    /// How far the addresses by which connections leave have moved on.
    moved: usize,
    disturbances: BTreeSet<Disturbance>,
}

/// What the port forwarding service does at the server's public address, through the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortService {
    #[default]
    Answers,
    /// Says 401 to everybody.
    Unauthorized,
    Refuses,
}

/// A running VPN server.
pub struct Server {
    plan: Plan,
    shared: Arc<Shared>,
    namespace: Arc<Namespace>,
    interface: Interface,
    registration: OnceLock<Arc<Site>>,
    forwarding: OnceLock<Arc<Site>>,
    meta: OnceLock<Arc<Site>>,
    state: Mutex<State>,
}

impl Server {
    /// Starts a server in a namespace whose `eth0` has its public address.
    pub fn start(
        shared: &Arc<Shared>,
        hub: &Hub,
        namespace: &Arc<Namespace>,
        interface: &str,
        plan: Plan,
    ) -> Arc<Self> {
        let interface = Interface::start(namespace, interface, plan.port);
        let server = Arc::new(Self {
            plan,
            shared: Arc::clone(shared),
            namespace: Arc::clone(namespace),
            interface,
            registration: OnceLock::new(),
            forwarding: OnceLock::new(),
            meta: OnceLock::new(),
            state: Mutex::default(),
        });
        server.set_up_tunnel();
        server.listen(hub);
        server
    }

    fn set_up_tunnel(&self) {
        let device = self.interface.name();
        let [a, b, ..] = self.plan.vip.octets();
        let addresses = [self.plan.vip, TUNNEL_DNS[0], TUNNEL_DNS[1]];
        let mut addresses = addresses
            .map(|address| format!("addr add {address}/32 dev {device}\n"))
            .concat();
        for address in &self.plan.rotation {
            addresses += &format!("addr add {address}/32 dev eth0\n");
        }
        self.namespace.ip(format_args!(
            "{addresses}link set {device} mtu 1420 up\nroute add {a}.{b}.0.0/16 dev {device}\n"
        ));
        self.namespace.sysctl("net/ipv4/ip_forward", "1");
        self.apply(&self.lock());
    }

    fn listen(self: &Arc<Self>, hub: &Hub) {
        let handler = |answer: fn(&Self, Api, &Request) -> Reply| {
            let server: Weak<Self> = Arc::downgrade(self);
            move |api, request: &Request| match server.upgrade() {
                Some(server) => answer(&server, api, request),
                None => Reply::html(503, "503 Service Unavailable"),
            }
        };
        let plan = &self.plan;
        let tls = certificates::pia_server(&plan.cn, plan.certificate);
        let registration = Site::new(
            &self.shared,
            &plan.cn,
            &[Api::AddKey],
            tls.clone(),
            handler(Self::add_key),
        );
        let ports = &[Api::GetSignature, Api::BindPort];
        let forwarding = Site::new(&self.shared, &plan.cn, ports, tls, handler(Self::forward));
        let meta_tls = certificates::pia_server(&plan.meta_cn, plan.meta_certificate);
        let foreign = plan.meta_certificate == Cert::Foreign;
        let apis = if foreign { &[][..] } else { super::META };
        let shared = Arc::clone(&self.shared);
        let meta = Site::new(
            &self.shared,
            &plan.meta_cn,
            apis,
            meta_tls,
            move |api, request| shared.answer(api, request),
        );

        let bind = |address, port| {
            TcpListener::bind((address, port))
                .unwrap_or_else(|error| panic!("cannot listen on {address}:{port}: {error}"))
        };
        let any = Ipv4Addr::UNSPECIFIED;
        let (sockets, resolvers) = self.namespace.run(|| {
            let resolvers = TUNNEL_DNS.map(|address| {
                let udp = UdpSocket::bind((address, 53)).expect("the tunnel has this address");
                (udp, bind(address, 53))
            });
            (
                [1337, 19999, 443, 8080].map(|port| bind(any, port)),
                resolvers,
            )
        });
        for (site, listener) in [&registration, &forwarding, &meta, &meta]
            .into_iter()
            .zip(sockets)
        {
            site.serve(hub, listener);
        }
        for resolver in resolvers {
            dns::serve(hub, &self.shared, Some(&plan.cn), resolver);
        }
        let _ = self.registration.set(registration);
        let _ = self.forwarding.set(forwarding);
        let _ = self.meta.set(meta);
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn cn(&self) -> &str {
        &self.plan.cn
    }

    pub fn address(&self) -> Ipv4Addr {
        self.plan.address
    }

    /// All addresses by which connections come in, and may leave.
    pub fn exits(&self) -> Vec<Ipv4Addr> {
        [&[self.plan.address], &self.plan.rotation[..]].concat()
    }

    pub fn public_key(&self) -> &str {
        self.interface.public_key()
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The keys of this moment's clients, with their tunnel addresses.
    pub fn peers(&self) -> Vec<(String, Ipv4Addr)> {
        self.lock()
            .peers
            .iter()
            .map(|peer| (peer.key.clone(), peer.address))
            .collect()
    }

    /// Whether any client of this moment has ever completed a handshake.
    pub fn had_handshake(&self) -> bool {
        self.peers()
            .iter()
            .any(|(key, _)| self.interface.latest_handshake(key).is_some())
    }

    /// Forwards a port to a client, though the client has not asked for it.
    pub fn forward_port(&self, port: u16, client: Ipv4Addr) {
        self.bind(&mut self.lock(), port, client);
    }

    pub fn bound_ports(&self) -> Vec<BoundPort> {
        self.lock().ports.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Server");
        shown.field("cn", &self.cn()).finish_non_exhaustive()
    }
}
