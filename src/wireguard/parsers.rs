//! What reads the output of `wg`, and what is written for wg-quick, as functions of the
//! text alone: for the fuzzer (`tests/fuzz`).

use super::conf::Conf;
use super::peers::{Peer, dump, kernel, user_space};
use super::{WireGuardError, leftovers};

/// The peers in a `wg show wg0 dump`.
pub fn wg_dump(text: &str) -> Vec<Peer> {
    dump::parse(text)
}

/// The peers in the answer of a WireGuard in user space.
///
/// # Errors
/// When it is a refusal, or no whole answer.
pub fn user_space_answer(text: &str) -> std::io::Result<Vec<Peer>> {
    user_space::parse(text)
}

/// The peers in a message of the kernel's WireGuard, without its headers.
///
/// # Errors
/// When it is cut off.
pub fn kernel_answer(message: &[u8]) -> std::io::Result<Vec<Peer>> {
    let mut listing = kernel::Listing::default();
    listing.add(message).map(|()| listing.peers)
}

/// Whether an interface without our alias is the original's, going by its dump and configuration.
pub fn is_of_the_original(dump: &str, conf: &str) -> bool {
    leftovers::has_shape_of_the_original(dump, conf)
}

/// The text of wg0.conf.
///
/// # Errors
/// When the template cannot be rendered.
pub fn conf_text(conf: &Conf) -> Result<String, WireGuardError> {
    conf.text()
}
