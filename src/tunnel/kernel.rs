//! Settings of the kernel that decide whether a tunnel can carry, read from `/proc/sys`.

/// `net.ipv4.conf.*`: what the network namespace has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReversePath {
    /// Strict reverse path filtering is in force on some interface.
    pub strict: bool,
    /// `src_valid_mark` makes strict filtering heed the mark.
    pub heeds_mark: bool,
}

fn read(name: &str) -> Option<u32> {
    std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).ok()?.trim().parse().ok()
}

/// What is in force for `interface`: the kernel takes the larger of `all` and the interface's own value; `default` is
/// what wg0 will start with.
pub fn reverse_path(interface: Option<&str>) -> ReversePath {
    let of = |name: &str| read(&format!("conf/{name}/rp_filter")).unwrap_or(0);
    let own = interface.map_or(0, of);
    // 2 is loose and wins over 1 by being larger.
    let strict = [of("default"), own].into_iter().any(|value| value.max(of("all")) == 1);
    ReversePath { strict, heeds_mark: read("conf/all/src_valid_mark") == Some(1) }
}

/// Whether the namespace forwards packets between interfaces; gateway mode needs it.
pub fn forwards() -> bool {
    read("ip_forward") == Some(1)
}
