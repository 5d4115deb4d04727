//! What the interface itself says: its counters, and `wg show` for people.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::system::cancellation::CancellationToken;
use crate::system::command::{Command, CommandError};
use crate::system::paths;

/// Whether the interface is there: read without starting a process.
pub fn exists() -> bool {
    Path::new("/sys/class/net").join(paths::INTERFACE).exists()
}

/// What becomes of packets that are to leave by the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkState {
    Gone,
    /// As `ip link set wg0 down` makes it.
    Down,
    Up,
}

/// The interface's link, read without starting a process, for some ask once a second. Where the
/// kernel does not tell, it is taken to be up.
pub fn link() -> LinkState {
    const IFF_UP: u32 = 1;
    let file = Path::new("/sys/class/net")
        .join(paths::INTERFACE)
        .join("flags");
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(_) if exists() => return LinkState::Up,
        Err(_) => return LinkState::Gone,
    };
    let digits = text.trim().trim_start_matches("0x");
    match u32::from_str_radix(digits, 16) {
        Ok(flags) if flags & IFF_UP == 0 => LinkState::Down,
        _ => LinkState::Up,
    }
}

/// What went one way through the interface since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub packets: u64,
    pub bytes: u64,
}

/// The largest packet of a handshake, an initiation.
const INITIATION_BYTES: u64 = 148;

impl Traffic {
    /// Whether there was data among what was received since `before`. Where handshakes are counted,
    /// little data looks the same as they do, and is not seen.
    pub fn has_data_since(self, before: Self, counts_handshakes: bool) -> bool {
        let packets = self.packets.saturating_sub(before.packets);
        let bytes = self.bytes.saturating_sub(before.bytes);
        let largest = if counts_handshakes {
            INITIATION_BYTES
        } else {
            0
        };
        bytes > packets.saturating_mul(largest)
    }
}

/// The interface's counters. The kernel's WireGuard counts all of its packets, handshakes and
/// keepalives included; a user-space one only what it carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub received: Traffic,
    pub sent: Traffic,
}

/// The counters, read without starting a process, and from one file, for some ask once a second.
///
/// # Errors
/// When there is no such interface.
pub fn counters() -> io::Result<Counters> {
    let table = fs::read_to_string("/proc/net/dev")?;
    counters_of(paths::INTERFACE, &table).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Reads the line of an interface: eight numbers of what came in, bytes and packets first, and as
/// many of what went out (proc_pid_net(5)).
fn counters_of(interface: &str, table: &str) -> Option<Counters> {
    let mut lines = table.lines().filter_map(|line| line.split_once(':'));
    let (_, numbers) = lines.find(|(name, _)| name.trim() == interface)?;
    let numbers: Vec<u64> = numbers
        .split_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    let traffic = |first: usize| {
        Some(Traffic {
            bytes: *numbers.get(first)?,
            packets: *numbers.get(first.saturating_add(1))?,
        })
    };
    Some(Counters {
        received: traffic(0)?,
        sent: traffic(8)?,
    })
}

/// Whether [`counters`] counts handshakes and keepalives: not in user space, which has a tun
/// device.
pub fn counts_handshakes() -> bool {
    !is_in_user_space()
}

/// Whether a program carries the tunnel's packets, by a tun device, and not the kernel.
pub fn is_in_user_space() -> bool {
    let device = Path::new("/sys/class/net").join(paths::INTERFACE);
    device.join("tun_flags").exists()
}

/// For `wg show`: the kernel, or the program that carries the interface, answers at once or hangs.
const SHOW_TIMEOUT: Duration = Duration::from_secs(1);

/// `wg show`, as people read it; wg hides the private key itself.
///
/// # Errors
/// When `wg` fails, or nobody answers it.
pub fn for_people(stop: &CancellationToken) -> Result<String, CommandError> {
    // Without this variable wg would show keys that a user's own environment asks for.
    let command = Command::new("wg", ["show", paths::INTERFACE]).variable("WG_HIDE_KEYS", "always");
    stop.limited(SHOW_TIMEOUT, |limited| command.run(limited))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_those_of_the_interface() {
        let table = "Inter-|   Receive                    |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs
    lo:    84       1    0    0    0     0          0         0       84       1    0
   wg0: 12345      17    0    0    0     0          0         0     6789      23    0
wg01:1 2 0 0 0 0 0 0 3 4 0
";
        let traffic = |packets, bytes| Traffic { packets, bytes };
        let of = |interface| counters_of(interface, table);
        let expected = |received, sent| Some(Counters { received, sent });
        assert_eq!(of("wg0"), expected(traffic(17, 12345), traffic(23, 6789)));
        assert_eq!(of("wg01"), expected(traffic(2, 1), traffic(4, 3)));
        assert_eq!(of("wg"), None);
        assert_eq!(of("wg02"), None);
    }

    #[test]
    fn handshakes_and_keepalives_are_no_data() {
        let traffic = |packets, bytes| Traffic { packets, bytes };
        let came = |packets: u64, bytes: u64, counts_handshakes| {
            traffic(7 + packets, 700 + bytes).has_data_since(traffic(7, 700), counts_handshakes)
        };
        assert!(!came(0, 0, true) && !came(0, 0, false));
        assert!(!came(3, 148 + 92 + 32, true));
        assert!(came(3, 148 + 92 + 300, true));
        assert!(came(1, 28, false));
    }
}
