//! Programs that are to listen on the forwarded port, and how each is told its number: asked which
//! port it has, told another one where it has not, and asked back whether it took it.
//!
//! Each client has a keeper, whose thread is the caller's; what is done after an outcome is decided
//! in `course`. The ready-made scripts for `PORT_SCRIPT` do the same for three of these clients.

mod course;
mod deluge;
mod http_hook;
mod keeper;
#[cfg(test)]
mod keeper_tests;
mod login;
mod options;
pub mod parsers;
mod port_client;
mod qbittorrent;
mod rtorrent;
mod scgi;
mod slskd;
mod talk;
mod transmission;
mod xml_rpc;

pub use course::ClientWord;
pub use keeper::Keeper;
pub use login::{Login, SecretSource};
pub use options::{
    ClientOptions, ClientTarget, ClientUrl, HttpHook, HttpUrl, PLACEHOLDER, PortClientOptions,
    header, is_header_value, is_url_with_port,
};

pub use crate::underlay::http::Method;
