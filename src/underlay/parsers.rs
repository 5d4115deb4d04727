//! What reads name servers' answers, files and headers, as functions of the bytes alone: for the
//! fuzzer (`tests/fuzz`).

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use super::dns_message::{self, Answer};
use super::interfaces::{self, DefaultRoute};
use super::{hosts_file, retry_after};

/// The addresses in a name server's answer to a question of this number about `host`, or what the
/// log says instead; `None` for what is no answer to it.
pub fn dns_answer(bytes: &[u8], id: u16, host: &str) -> Option<Result<Vec<Ipv4Addr>, String>> {
    let (Answer::Whole(outcome) | Answer::Cut(outcome)) =
        dns_message::read_answer(bytes, id, host)?;
    Some(outcome.map_err(|failure| failure.to_string()))
}

/// The question of this number about `host`.
pub fn dns_question(id: u16, host: &str) -> Option<Vec<u8>> {
    dns_message::question(id, host).ok()
}

/// The addresses of `host` in a hosts file.
pub fn hosts_file(text: &str, host: &str) -> Vec<Ipv4Addr> {
    hosts_file::addresses_in(text, host)
}

/// The pause that a `Retry-After` asks for.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    retry_after::parse(value, now)
}

/// The default routes in the kernel's table.
pub fn default_routes(table: &str) -> Vec<DefaultRoute> {
    interfaces::parse_default_routes(table)
}
