//! What reads the output of `wg` and `ip`, and what is written for wg-quick, as functions of the
//! text alone: for the fuzzer (`tests/fuzz`).

use super::conf::Conf;
use super::routing_rules::{self, RoutingRule};
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

/// The rules of ours in an `ip rule show`.
pub fn routing_rules(text: &str) -> Vec<RoutingRule> {
    text.lines().filter_map(routing_rules::parse).collect()
}

/// What `ip -batch` is told to delete of an `ip rule show`, and the rules of others.
pub fn leftover_rules(text: &str, is_stale: bool) -> (String, String) {
    leftovers::sort_out(text, is_stale)
}

/// The mark and table that is free among these rules.
pub fn free_number(rules: &str) -> u32 {
    leftovers::free_number(rules)
}

/// The text of wg0.conf.
///
/// # Errors
/// When the template cannot be rendered.
pub fn conf_text(conf: &Conf) -> Result<String, WireGuardError> {
    conf.text()
}
