//! The network below the tunnel: its interfaces and name servers, and sockets and requests that can
//! go out untunnelled. Knows neither PIA nor the firewall.

pub mod changes;
pub mod deadline;
mod dns_exchange;
mod dns_message;
pub mod first_sign;
mod hosts_file;
pub mod http;
pub mod http_error;
#[cfg(test)]
mod http_tests;
mod icmp_echo;
pub mod interfaces;
pub mod name_servers;
pub mod parsers;
pub mod passing;
pub mod path_mtu;
pub mod ping;
pub mod public_address;
pub mod resolv_conf;
pub mod resolver;
mod retry_after;
pub mod socket;
pub mod timed_stream;
pub mod way_out;
