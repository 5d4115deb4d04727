//! Private Internet Access, as far as its customers can see it.
//!
//! The account API, the server lists and the VPN servers, real TLS, real WireGuard, real port
//! forwarding, all in this process. What can go wrong with them is a verb on [`Simulator`] or on
//! a [`Server`], usable at any moment; what was asked of them is in
//! [`Records`].
//!
//! The simulator listens where it is told to: namespaces, addresses and routes are the business of
//! `world`.

pub mod account;
pub mod certificates;
pub mod dns;
pub mod exit_address;
mod far;
pub mod faults;
pub mod http;
mod https;
pub mod hub;
pub mod keys;
pub mod port_forwarding;
pub mod records;
pub mod regions;
pub mod server;
mod verbs;
mod wireguard;

use std::fmt;
use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};

use account::Account;
use certificates::WebCert;
use exit_address::ExitBook;
use far::RoundTrip;
use faults::{Api, Faults};
use http::{Reply, Request};
use hub::Hub;
use port_forwarding::PortForwarding;
use records::{BoundPort, Records};
use regions::{Listed, Lists};
use server::{Plan, Server};

use crate::netns::Namespace;

/// The account API's host name, which health checks ping, too.
pub const API_HOST: &str = "www.privateinternetaccess.com";
/// The server list's host name.
pub const LIST_HOST: &str = "serverlist.piaservers.net";

/// What a meta server offers.
const META: &[Api] = &[Api::Token, Api::ExpireToken, Api::DedicatedIp, Api::List];

/// What all parts of the simulator know.
#[derive(Debug, Default)]
pub struct Shared {
    account: Account,
    exits: ExitBook,
    round_trip: RoundTrip,
    faults: Faults,
    lists: Lists,
    port_forwarding: PortForwarding,
    records: Records,
    zone: dns::Zone,
}

impl Shared {
    /// Answers as the account API and the list host.
    fn answer(&self, api: Api, request: &Request) -> Reply {
        match api {
            Api::Token => self.account.token(request, &self.records),
            Api::ExpireToken => self.account.expire_token(request),
            Api::DedicatedIp => self.account.dedicated_ip(request),
            Api::List => self.lists.answer(request),
            Api::ExitAddress => self.exits.answer(request),
            Api::AddKey | Api::GetSignature | Api::BindPort => Reply::html(404, "404 Not Found"),
        }
    }
}

/// A running PIA; dropping it ends every connection to it.
#[derive(Default)]
pub struct Simulator {
    shared: Arc<Shared>,
    hub: Hub,
    servers: Mutex<Vec<Arc<Server>>>,
    sites: Mutex<Vec<Arc<https::Site>>>,
}

impl Simulator {
    /// Serves the account API, the public one.
    pub fn serve_api(&self, listener: TcpListener) {
        self.serve_web(
            API_HOST,
            &[
                Api::Token,
                Api::ExpireToken,
                Api::DedicatedIp,
                Api::ExitAddress,
            ],
            listener,
        );
    }

    /// Serves the server lists, the public ones.
    pub fn serve_list(&self, listener: TcpListener) {
        self.serve_web(LIST_HOST, &[Api::List], listener);
    }

    fn serve_web(&self, host: &str, apis: &'static [Api], listener: TcpListener) {
        let shared = Arc::clone(&self.shared);
        let tls = certificates::web_site(&[host], WebCert::Right);
        let answer = move |api, request: &Request| shared.answer(api, request);
        let site = https::Site::new(&self.shared, host, apis, tls, answer);
        site.serve(&self.hub, listener);
        self.sites
            .lock()
            .expect("no holder of this lock panics")
            .push(site);
    }

    /// The public hosts show such certificates from now on.
    pub fn web_certificates(&self, kind: WebCert) {
        for site in self
            .sites
            .lock()
            .expect("no holder of this lock panics")
            .iter()
        {
            site.present(certificates::web_site(&[site.host()], kind));
        }
    }

    /// Answers DNS questions on the open internet.
    pub fn serve_dns(&self, udp: UdpSocket, tcp: TcpListener) {
        dns::serve(&self.hub, &self.shared, None, (udp, tcp));
    }

    /// Starts a VPN server; see [`Server::start`]. Servers can be started at the same time.
    pub fn start_server(&self, namespace: &Arc<Namespace>, interface: &str, plan: Plan) {
        let listed = Listed {
            ip: plan.address,
            cn: plan.cn.clone(),
            meta_cn: plan.meta_cn.clone(),
        };
        self.shared
            .lists
            .edit(&plan.location, |region| region.servers.push(listed));
        self.shared.exits.add(&plan);
        let server = Server::start(&self.shared, &self.hub, namespace, interface, plan);
        self.lock().push(server);
    }

    /// All servers, in the order of their addresses.
    pub fn servers(&self) -> Vec<Arc<Server>> {
        let mut servers = self.lock().clone();
        servers.sort_by_key(|server| server.address());
        servers
    }

    /// The server of this name.
    #[track_caller]
    pub fn server(&self, cn: &str) -> Arc<Server> {
        let servers = self.servers();
        let found = servers.into_iter().find(|server| server.cn() == cn);
        found.unwrap_or_else(|| panic!("there is no server {cn}"))
    }

    /// The servers of one location.
    pub fn servers_of(&self, location: &str) -> Vec<Arc<Server>> {
        let servers = self.servers().into_iter();
        servers
            .filter(|server| server.plan().location == location)
            .collect()
    }

    /// Services that are not PIA's but live and end with it.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    pub fn records(&self) -> &Records {
        &self.shared.records
    }

    /// The names that DNS knows.
    pub fn names(&self) -> &dns::Zone {
        &self.shared.zone
    }

    /// The server lists.
    pub fn lists(&self) -> &Lists {
        &self.shared.lists
    }

    pub fn account(&self) -> &Account {
        &self.shared.account
    }

    /// Signatures and bindings of ports.
    pub fn port_forwarding(&self) -> &PortForwarding {
        &self.shared.port_forwarding
    }

    /// The ports forwarded at this moment, by any server.
    pub fn bound_ports(&self) -> Vec<BoundPort> {
        self.servers()
            .iter()
            .flat_map(|server| server.bound_ports())
            .collect()
    }

    /// How often somebody tried to log in, successfully or not.
    pub fn login_attempts(&self) -> usize {
        self.records().of(Api::Token).len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Server>>> {
        self.servers.lock().expect("no holder of this lock panics")
    }
}

impl fmt::Debug for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Simulator");
        shown
            .field("servers", &self.servers())
            .finish_non_exhaustive()
    }
}
