//! What can be seen of a container from outside: its tunnel, rules, sockets, processes.

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use super::World;
use super::container::Container;
use crate::netns::Namespace;
use crate::simulator::server::{Server, TUNNEL_DNS};
use crate::waiting::{LATER, SOON, wait_for, wait_until};

/// States of a TCP socket, as the kernel numbers them.
#[derive(Clone, Copy, Debug)]
pub enum Tcp {
    Established = 1,
    Connecting = 2,
}

impl World {
    /// The server of PIA's by which the container's traffic leaves. Blocks until there is one, and
    /// fails the test if there is none.
    #[track_caller]
    pub fn server_in_use(&self) -> Arc<Server> {
        self.server_used_by(self.client())
    }

    /// The same for the traffic of this place.
    #[track_caller]
    pub fn server_used_by(&self, place: &Namespace) -> Arc<Server> {
        wait_for("traffic leaves by a server of PIA's", LATER, || {
            let visitor = self.address_seen_from(place)?;
            let mut servers = self.pia.servers().into_iter();
            servers.find(|server| server.exits().contains(&visitor))
        })
    }

    /// The id of the location where that server is.
    #[track_caller]
    pub fn location_in_use(&self) -> String {
        self.server_in_use().plan().location.clone()
    }

    /// The tunnel carries: traffic leaves by a server of PIA's, and the name servers inside are
    /// reached.
    #[track_caller]
    pub fn assert_carries(&self) {
        self.server_in_use();
        assert!(self.client().reaches((TUNNEL_DNS[0], 53)));
    }

    /// What a program of the machine prints in the container's network.
    #[track_caller]
    pub fn look(&self, command: &str) -> String {
        let mut words = command.split_whitespace();
        let program = words.next().expect("a program is named");
        let output = self
            .client()
            .output(Command::new(program).args(words))
            .expect("the program is there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Whether the kill switch is closed, IPv6 included.
    pub fn is_sealed(&self) -> bool {
        let closed = |rules: String| {
            ["INPUT", "FORWARD", "OUTPUT"]
                .map(|chain| format!(":{chain} DROP"))
                .iter()
                .all(|policy| rules.contains(policy))
        };
        closed(self.look("iptables-save -t filter"))
            && closed(self.look("ip6tables-save -t filter"))
    }

    /// The rules that let something of ours out beside the tunnel.
    pub fn ways_out(&self) -> Vec<String> {
        let rules = self.look("iptables-save -t filter");
        let ours = rules
            .lines()
            .filter(|rule| rule.starts_with("-A PIA_OUTPUT ") && rule.ends_with("-j ACCEPT"));
        ours.filter(|rule| rule.contains("--mark") || rule.contains("--uid-owner"))
            .map(str::to_owned)
            .collect()
    }

    /// Rules of the firewall and of routing that are there more than once.
    pub fn repeated_rules(&self) -> Vec<String> {
        let mut rules: Vec<String> = Vec::new();
        for program in [
            "iptables-save",
            "ip6tables-save",
            "ip -4 rule show",
            "ip -6 rule show",
        ] {
            let mut table = "";
            let text = self.look(program);
            for line in text.lines() {
                if line.starts_with('*') {
                    table = line;
                } else if !line.starts_with(['#', ':']) && line != "COMMIT" {
                    rules.push(format!("{program} {table} {line}"));
                }
            }
        }
        rules.sort();
        rules
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0].clone())
            .collect()
    }

    /// Blocks until the container has a TCP connection to this place, made or in the making.
    #[track_caller]
    pub fn wait_for_connection(&self, state: Tcp, address: Ipv4Addr, port: u16) {
        let line = format!("{} {:02X}", shown(address, port), state as u8);
        wait_until("the connection", SOON, || {
            self.sockets("tcp").contains(&line)
        });
    }

    /// Blocks until the container has asked this place something by UDP.
    #[track_caller]
    pub fn wait_for_conversation(&self, address: Ipv4Addr, port: u16) {
        wait_until("the question", SOON, || {
            self.sockets("udp").contains(&shown(address, port))
        });
    }

    fn sockets(&self, protocol: &str) -> String {
        self.client()
            .run(|| fs::read_to_string(format!("/proc/thread-self/net/{protocol}")))
            .unwrap_or_default()
    }
}

/// As in `/proc/net/tcp`.
fn shown(address: Ipv4Addr, port: u16) -> String {
    format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets()))
}

impl Container {
    /// The command lines of what runs in a container with a shared PID namespace, but for the pod's
    /// own process and the one that looks.
    pub fn processes(&self) -> Vec<String> {
        let all = self.shell(
            r"for p in /proc/[0-9]*; do
            [[ $p == /proc/$$ ]] || { tr '\0\n' '  ' <$p/cmdline; echo; }; done",
        );
        let lines = all
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.contains("sleep 3600"));
        lines.map(str::to_owned).collect()
    }

    /// Waits until the program ends by itself, and says how and with which last words.
    #[track_caller]
    pub fn end(&self) -> (Option<i32>, String) {
        let status = self.wait(LATER);
        (status.code(), self.logs())
    }
}
