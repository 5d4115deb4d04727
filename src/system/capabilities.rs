//! What the process may do, read from `/proc/self/status`.

/// Bit of CAP_NET_ADMIN in linux/capability.h.
const CAP_NET_ADMIN: u64 = 1 << 12;

/// As far as it matters to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capabilities {
    WithoutNetAdmin,
    Some,
    /// As with `--privileged`.
    All,
}

/// Those in force for this process.
pub fn from_process() -> Capabilities {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    judge(
        &read("/proc/self/status"),
        &read("/proc/sys/kernel/cap_last_cap"),
    )
}

/// A status that cannot be read is no reason to refuse; what then fails says so itself.
fn judge(status: &str, last: &str) -> Capabilities {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(effective) = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
    else {
        return Capabilities::Some;
    };
    let all = last
        .trim()
        .parse::<u32>()
        .ok()
        .and_then(|last| 1_u64.checked_shl(last + 1))
        .map(|beyond| beyond - 1);
    if effective & CAP_NET_ADMIN == 0 {
        Capabilities::WithoutNetAdmin
    } else if all.is_some_and(|all| effective & all == all) {
        Capabilities::All
    } else {
        Capabilities::Some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_decides() {
        let with = |bits: &str| judge(&format!("Name:\tx\nCapEff:\t{bits}\n"), "40\n");
        assert_eq!(with("00000000a80425fb"), Capabilities::WithoutNetAdmin);
        assert_eq!(with("00000000a80435fb"), Capabilities::Some);
        assert_eq!(with("000001ffffffffff"), Capabilities::All);
        assert_eq!(judge("", ""), Capabilities::Some);
    }
}
