//! What the program logs, as far as tests wait for it, and how to read a log.

/// The kill switch is closed.
pub const CLOSED: &str = "Kill switch closed";
/// The tunnel is up.
pub const UP: &str = "WireGuard successfully started";
/// The firewall is that of the tunnel: the last step of a start.
pub const ENABLED: &str = "Firewall enabled";
/// Another server took the place of the former.
pub const RECONNECTED: &str = "Reconnected to";
/// A port is forwarded; its number follows.
pub const FORWARDING: &str = "Forwarding on port ";

/// The end of each step by which a start logs in, with `DEBUG` set.
pub const LOGIN: [&str; 4] = [
    "Logging in to PIA",
    "resolves www.privateinternetaccess.com",
    "/token: 200",
    "Got a new token",
];

/// The beginning or the end of each other step of a start, in order, with `DEBUG` set. wg-quick
/// says each of its commands before it runs it.
pub const START: [&str; 19] = [
    CLOSED,
    "Settings: ",
    "/servers/v6: 200",
    "Verified server list",
    "Registering with",
    "/addKey: 200",
    "Bringing up WireGuard",
    "[#] wg-quick up",
    "[#] ip link add wg0",
    "[#] wg setconf wg0",
    "[#] ip -4 address add",
    "[#] ip link set mtu",
    "[#] resolvconf -a wg0",
    "[#] ip -4 route add",
    "[#] ip -4 rule add not fwmark",
    "[#] ip -4 rule add table main",
    "[#] iptables-restore -n",
    UP,
    ENABLED,
];

/// How often a text has this line.
pub fn count(text: &str, line: &str) -> usize {
    text.lines().filter(|candidate| *candidate == line).count()
}

/// Whether the text has all of these, one after the other.
pub fn in_order(text: &str, parts: &[&str]) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}
