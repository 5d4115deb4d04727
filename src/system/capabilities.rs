//! What the process may do, read from `/proc/self/status`.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

/// Bit of CAP_NET_ADMIN in linux/capability.h.
const CAP_NET_ADMIN: u64 = 1 << 12;

/// The capabilities, as far as they matter to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capabilities {
    WithoutNetAdmin,
    /// Without it because the process runs as this user: `cap_add` is for root alone.
    OrdinaryUser(u32),
    Some,
    /// As with `--privileged`.
    All,
}

impl Capabilities {
    /// Whether interfaces, routes and rules can be changed.
    pub fn has_net_admin(self) -> bool {
        self.cure().is_none()
    }

    /// What gives us NET_ADMIN, where it is missing.
    pub fn cure(self) -> Option<String> {
        match self {
            Self::WithoutNetAdmin => Some(
                "add `cap_add: [NET_ADMIN]` to the service, or `--cap-add NET_ADMIN` to docker run"
                    .to_owned(),
            ),
            Self::OrdinaryUser(uid) => Some(format!(
                "remove `user:` from the service, or `--user` from docker run: this runs as user \
                 {uid}, and capabilities that are added are root's"
            )),
            Self::Some | Self::All => None,
        }
    }
}

/// Those in force for this process.
pub fn from_process() -> Capabilities {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    judge(
        &read("/proc/self/status"),
        &read("/proc/sys/kernel/cap_last_cap"),
    )
}

/// Where the status cannot be read, NET_ADMIN is assumed: what then fails says so itself.
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
        .and_then(|last| u64::MAX.checked_shr(63_u32.saturating_sub(last)));
    if effective & CAP_NET_ADMIN == 0 {
        match effective_user(status) {
            Some(uid) if uid != 0 => Capabilities::OrdinaryUser(uid),
            _ => Capabilities::WithoutNetAdmin,
        }
    } else if all.is_some_and(|all| effective & all == all) {
        Capabilities::All
    } else {
        Capabilities::Some
    }
}

/// The second of real, effective, saved and file system's.
fn effective_user(status: &str) -> Option<u32> {
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    users.split_whitespace().nth(1)?.parse().ok()
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

    #[test]
    fn an_ordinary_user_is_told_what_keeps_capabilities_away() {
        let of = |uid: u32| {
            let text = format!("Uid:\t0\t{uid}\t0\t0\nCapEff:\t0000000000000000\n");
            judge(&text, "40\n")
        };
        assert_eq!(of(0), Capabilities::WithoutNetAdmin);
        assert_eq!(of(1000), Capabilities::OrdinaryUser(1000));
        assert!(of(1000).cure().unwrap().contains("remove `user:`"));
        assert!(!of(1000).has_net_admin());
        assert!(Capabilities::Some.has_net_admin());
    }
}
