//! What WireGuard adds to a packet, and what that leaves. Pure.

/// Ethernet's MTU, in bytes. A link that takes more says nothing of the way behind it.
pub const USUAL_LINK: u32 = 1500;

/// Headers of IPv4 and UDP, and WireGuard's own, in bytes.
pub const OVER_IPV4: u32 = 60;
/// What wg-quick leaves for them, as IPv6 needs more.
const RESERVED: u32 = 80;

/// What `MTU` takes at least.
pub const LEAST: u32 = 576;

/// The MTU inside a tunnel that goes by a way of this MTU.
pub fn inside(way: u32) -> Option<u32> {
    way.min(USUAL_LINK).checked_sub(RESERVED)
}

/// The same, and no less than [`LEAST`].
pub fn fitting(way: u32) -> u32 {
    inside(way).unwrap_or_default().max(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_beyond_the_usual_is_not_trusted() {
        assert_eq!(inside(1500), Some(1420));
        assert_eq!(inside(1400), Some(1320));
        assert_eq!(inside(9000), Some(1420));
        assert_eq!(inside(0), None);
    }
}
