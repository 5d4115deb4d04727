//! What reads the output of `wg`, and what is written for wg-quick, as functions of the
//! text alone: for the fuzzer (`tests/fuzz`).

use super::conf::Conf;
use super::show::{self, Peer};
use super::{WireGuardError, leftovers};

/// The peers in a `wg show wg0 dump`.
pub fn wg_dump(text: &str) -> Vec<Peer> {
    show::parse_dump(text)
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
