//! From an account to a registration: token, server list, a server that takes our key.
//!
//! The container and the commands by hand go the same way; only the gate differs, which in the
//! container is the kill switch. What was learnt once is remembered, so that a reconnect needs
//! neither DNS nor the host of the server list. Nothing here knows of the tunnel that will rest on
//! it.

pub mod account;
pub mod api_hosts;
pub mod connector;
pub mod credentials;
pub mod gate;
mod kept_list;
pub mod location_table;
pub mod places;
pub mod progress;
pub mod register;
mod round;
mod search_token;
mod server_lists;
pub mod server_selection;
mod turns;
