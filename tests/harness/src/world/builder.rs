//! What a world is to have.

use std::net::Ipv4Addr;
use std::sync::Once;

use super::network::{self, Shape};
use super::{World, preflight, reap};
use crate::simulator::certificates::Cert;
use crate::simulator::server::Plan;

/// The kinds of hosts that PIA has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `amsterdam447`: the name is in the certificate's subjectAltName; has a meta service.
    Stable,
    /// `Server-12144-3a`: the name is the certificate's subject only; has no meta service.
    New,
}

/// What the world is to have.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    pub(super) shape: Shape,
    pub(super) sysctls: Vec<(String, String)>,
    servers: Vec<(String, String, Kind)>,
    rotating: bool,
    usual_ports: bool,
}

/// Where PIA's servers have both their API and WireGuard, as far as anybody has seen.
const USUAL_PORT: u16 = 1337;

impl Builder {
    /// Adds live servers of this kind to a location. Without any, there are two stable ones in
    /// `nl_amsterdam` and two new ones in `swiss`.
    pub fn servers(mut self, location: &str, kind: Kind, count: usize) -> Self {
        for _ in 0..count {
            let number = self.servers.len();
            let city = location.rsplit('_').next().unwrap_or(location);
            let cn = match kind {
                Kind::Stable => format!("{city}{}", 447 + number),
                Kind::New => format!("Server-{}-{number}a", 12_144 + 7 * number),
            };
            self.servers.push((location.to_owned(), cn, kind));
        }
        self
    }

    /// New servers have 25 addresses and let connections leave by some of them at random, as the
    /// real ones do.
    pub fn rotating(mut self) -> Self {
        self.rotating = true;
        self
    }

    /// All servers have WireGuard at the port where PIA's have it. Else every other one has it
    /// elsewhere, which a registration may say.
    pub fn usual_ports(mut self) -> Self {
        self.usual_ports = true;
        self
    }

    /// Attaches the container to a second network, with a default route of this metric if any.
    pub fn second_network(mut self, default_route: Option<u32>) -> Self {
        self.shape.second = Some(default_route);
        self
    }

    /// Puts a host behind the container's `eth1`, which uses it as its gateway.
    pub fn behind(mut self) -> Self {
        self.shape.behind = true;
        self
    }

    /// Sets a kernel variable in the container's network, as `docker run --sysctl` does.
    pub fn sysctl(mut self, variable: &str, value: &str) -> Self {
        self.sysctls.push((variable.to_owned(), value.to_owned()));
        self
    }

    pub fn build(mut self) -> World {
        static FIRST: Once = Once::new();
        FIRST.call_once(|| {
            preflight::check();
            reap::reap_stale();
        });
        if self.servers.is_empty() {
            self = self
                .servers("nl_amsterdam", Kind::Stable, 2)
                .servers("swiss", Kind::New, 2);
        }
        self.shape.servers = u8::try_from(self.servers.len()).expect("servers are few");
        World::build(&self)
    }

    pub(super) fn plans(&self) -> Vec<Plan> {
        let servers = self.servers.iter().enumerate();
        let plans = servers.map(|(number, (location, cn, kind))| {
            let mut plan = plan(number, location, cn, *kind);
            if self.usual_ports {
                plan.port = USUAL_PORT;
            }
            if self.rotating && *kind == Kind::New {
                plan.rotation = network::rotation(u8::try_from(number).expect("servers are few"));
            }
            plan
        });
        plans.collect()
    }
}

/// The server of this number. Some have another WireGuard port, and their inner addresses differ.
fn plan(number: usize, location: &str, cn: &str, kind: Kind) -> Plan {
    let number = u8::try_from(number).expect("servers are few");
    let [third, last] = [[128, 1], [0, 1], [224, 1]][usize::from(number % 3)];
    let (certificate, meta_certificate) = match kind {
        Kind::Stable => (Cert::San, Cert::San),
        Kind::New => (Cert::CnOnly, Cert::Foreign),
    };
    Plan {
        location: location.to_owned(),
        cn: cn.to_owned(),
        meta_cn: format!("meta-{cn}"),
        address: network::server_address(number),
        port: if number % 2 == 0 {
            USUAL_PORT
        } else {
            51_000 + u16::from(number)
        },
        vip: Ipv4Addr::new(10, 10 + number, third, last),
        rotation: Vec::new(),
        certificate,
        meta_certificate,
    }
}
