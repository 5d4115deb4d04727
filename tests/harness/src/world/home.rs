//! A LAN on the container's wire: a machine beside it, and a router that announces IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::sync::Arc;

use super::World;
use super::journal::Journal;
use super::network::{CLIENT, GATEWAY, GATEWAY_V6};
use super::process::Process;
use crate::netns::Namespace;
use crate::programs;
use crate::waiting::SOON;

/// The machine.
pub const MACHINE: Ipv4Addr = Ipv4Addr::new(172, 18, 0, 9);
/// The router, as its neighbours know it by IPv6.
pub const ROUTER_OF_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
/// The router's interface, a switch that the container's wire ends at.
const SWITCH: &str = "home";
/// What the router announces.
const PREFIX: &str = "2001:db8:18::";

impl World {
    /// Puts a machine beside the container, with it as gateway, as where a router's DHCP server
    /// hands out the container's address. It believes what is said on the link, as kernels do
    /// unless they are told not to.
    pub fn machine(&self) -> Namespace {
        let machine = Namespace::create(format!("{}-machine", self.prefix));
        machine.sysctl("net/ipv4/conf/all/accept_redirects", "1");
        for place in [self.router(), &machine] {
            // An address of IPv6 may be used at once.
            place.sysctl("net/ipv6/conf/default/dad_transmits", "0");
        }
        self.router().ip(format_args!(
            "link add {SWITCH} type bridge\n\
             link set wire master {SWITCH}\n\
             addr flush dev wire\n\
             addr add {GATEWAY}/16 dev {SWITCH}\n\
             addr add {GATEWAY_V6}/64 dev {SWITCH} nodad\n\
             addr add {ROUTER_OF_LINK}/64 dev {SWITCH} nodad\n\
             link set {SWITCH} up\n\
             link add machine type veth peer name eth0 netns {}\n\
             link set machine master {SWITCH} up\n",
            machine.name()
        ));
        machine.ip(format_args!(
            "addr add {MACHINE}/16 dev eth0\nlink set eth0 up\nroute add default via {CLIENT}\n"
        ));
        machine
    }

    /// The router announces itself to the machine and the container as their way to everywhere by
    /// IPv6, until this is dropped.
    #[track_caller]
    pub fn announce_ipv6(&self) -> Process {
        let mut prober = Command::new(programs::prober());
        prober.args(["announce", SWITCH, PREFIX]);
        let journal = Journal::default();
        let router = Arc::clone(self.router());
        let process = Process::start(move || router.enter(), prober, &journal)
            .expect("the prober can be started");
        let is_ready = journal.wait_for(SOON, |line| line == "ready").is_some();
        assert!(is_ready, "nothing is announced: {}", journal.text());
        process
    }
}
