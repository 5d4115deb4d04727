//! Whether anybody listens where a forwarded port leads, as the socket tables of this network show
//! it. Programs of other containers are seen there too, if not always their names.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::system::network_table;

/// How many other ports are named.
const MAX_OTHERS: usize = 3;
/// As `/proc/net/tcp` shows a socket that listens, and `/proc/net/udp` one that has no peer.
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

/// What the user can do where nobody listens on the port that `forwarded` leads to.
pub fn cure(forwarded: u16, leads_to: Option<u16>) -> &'static str {
    if leads_to.is_some_and(|port| port != forwarded) {
        "PORT_REDIRECT leads there: have the program listen on that port, or set PORT_REDIRECT to \
         the one that it listens on"
    } else {
        "Have it listen there: PORT_CLIENTS=qbittorrent (transmission, deluge, rtorrent, slskd, \
         http) tells it its port; PORT_REDIRECT leads the port to a program that cannot change its \
         own"
    }
}

/// A socket that takes what comes to its port from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Listener {
    port: u16,
    is_tcp: bool,
    inode: u64,
}

/// Says that nobody listens on `port`, and who does on others; `None` where somebody does.
pub fn complaint(port: u16) -> Option<String> {
    complaint_of(port, &all(), program_of)
}

/// The program that listens on `port`, or "another program" where its name cannot be seen; `None`
/// where nobody does.
pub fn listener(port: u16) -> Option<String> {
    let listeners = all();
    let here = listeners.iter().find(|listener| listener.port == port)?;
    Some(name_or_another(program_of(here.inode)))
}

fn all() -> Vec<Listener> {
    let mut listeners = Vec::new();
    for (table, is_tcp) in [
        ("tcp", true),
        ("tcp6", true),
        ("udp", false),
        ("udp6", false),
    ] {
        let path = network_table::path(table);
        // Without IPv6 there are no such tables.
        let text = fs::read_to_string(path).unwrap_or_default();
        listeners.extend(text.lines().filter_map(|line| read(line, is_tcp)));
    }
    listeners
}

fn name_or_another(name: Option<String>) -> String {
    name.unwrap_or_else(|| "another program".to_owned())
}

fn complaint_of(
    port: u16,
    listeners: &[Listener],
    name: impl Fn(u64) -> Option<String>,
) -> Option<String> {
    if listeners.iter().any(|listener| listener.port == port) {
        return None;
    }
    let mut others: Vec<String> = Vec::new();
    for listener in likely(listeners) {
        let name = name_or_another(name(listener.inode));
        others.push(format!("{name} listens on {}", listener.port));
    }
    others.truncate(MAX_OTHERS);
    let others: String = others.iter().map(|other| format!("; {other}")).collect();
    Some(format!("nobody listens on port {port}{others}"))
}

/// Those that a forwarded port may be meant for, each port once: by tcp and udp, as torrent clients
/// have it, or else by tcp at least.
fn likely(listeners: &[Listener]) -> Vec<Listener> {
    let mut by_tcp: Vec<Listener> = listeners.iter().copied().filter(|one| one.is_tcp).collect();
    by_tcp.sort_by_key(|listener| listener.port);
    by_tcp.dedup_by_key(|listener| listener.port);
    let by_udp = |port| listeners.iter().any(|one| !one.is_tcp && one.port == port);
    let mut by_both = by_tcp.clone();
    by_both.retain(|listener| by_udp(listener.port));
    if by_both.is_empty() { by_tcp } else { by_both }
}

/// A line of a socket table; what listens on loopback only is out of reach.
fn read(line: &str, is_tcp: bool) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [_, local, _, state, _, _, _, _, _, inode, ..] = fields.as_slice() else {
        return None;
    };
    let wanted = if is_tcp { TCP_LISTEN } else { UDP_UNCONNECTED };
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16)
        .ok()
        .filter(|port| *port != 0)?;
    let is_reachable = *state == wanted && !is_loopback(address)?;
    is_reachable.then_some(Listener {
        port,
        is_tcp,
        inode: inode.parse().ok()?,
    })
}

/// Addresses are shown as words of the machine's own byte order, IPv6 ones as four of them.
fn is_loopback(address: &str) -> Option<bool> {
    let last = address.get(address.len().checked_sub(8)?..)?;
    let last = Ipv4Addr::from(u32::from_str_radix(last, 16).ok()?.to_ne_bytes());
    let is_v6_loopback = address.len() > 8 && last == Ipv4Addr::new(0, 0, 0, 1);
    Some(last.is_loopback() || is_v6_loopback)
}

/// The name of the process that has this socket, where it can be seen.
fn program_of(inode: u64) -> Option<String> {
    let socket = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let has_socket = |process: &Path| {
        let files = fs::read_dir(process.join("fd")).into_iter().flatten();
        files
            .flatten()
            .any(|file| fs::read_link(file.path()).is_ok_and(|link| link == Path::new(&socket)))
    };
    let process = processes
        .map(|entry| entry.path())
        .find(|path| has_socket(path))?;
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As on a little-endian machine.
    fn line(local: &str, state: &str) -> String {
        format!("   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 0 0 0 77 1 0")
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn only_what_can_be_reached_from_elsewhere_listens() {
        let port =
            |local, state, is_tcp| read(&line(local, state), is_tcp).map(|listener| listener.port);
        assert_eq!(port("00000000:1AE1", "0A", true), Some(6881));
        assert_eq!(port("0200000A:1AE1", "0A", true), Some(6881));
        assert_eq!(port("00000000:1AE1", "01", true), None);
        assert_eq!(port("0100007F:1AE1", "0A", true), None);
        assert_eq!(port("00000000:1AE1", "07", false), Some(6881));
        let any = "00000000000000000000000000000000:1AE1";
        assert_eq!(port(any, "0A", true), Some(6881));
        let loopback = "00000000000000000000000001000000:1AE1";
        assert_eq!(port(loopback, "0A", true), None);
        assert_eq!(port("sl", "st", true), None);
        assert_eq!(port("é:1AE1", "0A", true), None);
    }

    #[test]
    fn the_cure_fits_where_the_port_leads() {
        for leads_to in [None, Some(47047)] {
            assert!(cure(47047, leads_to).contains("PORT_CLIENTS"));
        }
        assert!(cure(47047, Some(6881)).contains("set PORT_REDIRECT to the one"));
    }

    #[test]
    fn the_complaint_names_who_is_probably_meant() {
        let by = |port, is_tcp, inode| Listener {
            port,
            is_tcp,
            inode,
        };
        let name = |inode| (inode == 2).then(|| "qbittorrent".to_owned());
        let of = |listeners: &[Listener]| complaint_of(4711, listeners, name);
        assert_eq!(of(&[by(4711, false, 1), by(6881, true, 2)]), None);
        assert_eq!(of(&[]).as_deref(), Some("nobody listens on port 4711"));
        let client = [by(8080, true, 1), by(6881, true, 2), by(6881, false, 3)];
        assert_eq!(
            of(&client).as_deref(),
            Some("nobody listens on port 4711; qbittorrent listens on 6881")
        );
        assert_eq!(
            of(&client[..1]).as_deref(),
            Some("nobody listens on port 4711; another program listens on 8080")
        );
    }
}
