//! Which address a request comes from, and whether that is one of PIA's.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard};

use serde_json::json;

use super::http::{Reply, Request};
use super::server::Plan;

/// What is said of the address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Exits {
    /// What is true.
    #[default]
    True,
    /// That it is none of PIA's.
    Disowned,
    /// Another one, which is none of PIA's.
    Seen(Ipv4Addr),
}

#[derive(Debug, Default)]
struct State {
    says: Exits,
    servers: Vec<IpAddr>,
}

/// The addresses by which PIA's servers let connections leave.
#[derive(Debug, Default)]
pub struct ExitBook(Mutex<State>);

impl ExitBook {
    pub fn set(&self, says: Exits) {
        self.lock().says = says;
    }

    pub(super) fn add(&self, plan: &Plan) {
        let mut state = self.lock();
        state.servers.push(plan.address.into());
        state
            .servers
            .extend(plan.rotation.iter().copied().map(IpAddr::V4));
    }

    pub(super) fn answer(&self, request: &Request) -> Reply {
        let state = self.lock();
        let peer = request.peer.ip();
        let (is_ours, ip) = match state.says {
            Exits::True => (state.servers.contains(&peer), peer),
            Exits::Disowned => (false, peer),
            Exits::Seen(ip) => (false, ip.into()),
        };
        Reply::json(200, &json!({ "connected": is_ours, "ip": ip }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no holder of this lock panics")
    }
}
