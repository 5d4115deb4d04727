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
