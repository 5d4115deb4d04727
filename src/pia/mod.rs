//! Private Internet Access: its account API, server list, registration and port forwarding. Knows
//! the protocol, and nothing of the container, the tunnel or the firewall.

pub mod account;
pub mod credentials;
pub mod error;
pub mod exit_address;
pub mod forwarding;
pub mod host;
pub mod lease;
mod messages;
pub mod parsers;
pub mod regions;
pub mod registration;
mod request;
pub mod retry;
pub mod side;
pub mod trust;
pub mod tunnel_address;
mod verifier;
