//! The chains of nf_tables, whoever made them, by nfnetlink(7).

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use nix::libc::{AF_UNSPEC, NFNL_SUBSYS_NFTABLES, NFT_MSG_GETCHAIN};
use nix::sys::socket::SockProtocol;

use super::netlink::{self, attributes};

// From linux/netfilter/nf_tables.h.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
/// `struct nfgenmsg` (linux/netfilter/nfnetlink.h): family, version, number of a resource.
const HEAD_LENGTH: usize = 4;

/// A chain, as iptables-nft and nft make them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// As linux/netfilter.h numbers them: those of iptables are `AF_INET` and `AF_INET6`.
    pub family: u8,
    pub table: String,
    pub name: String,
}

/// All chains in this network.
///
/// # Errors
/// When the kernel has no nf_tables, or the capability `NET_ADMIN` is missing.
pub fn chains() -> io::Result<Vec<Chain>> {
    let kind = u16::try_from(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN);
    let family = u8::try_from(AF_UNSPEC).unwrap_or_default();
    let mut found = Vec::new();
    netlink::ask_by(
        SockProtocol::NetlinkNetFilter,
        kind.map_err(io::Error::other)?,
        NLM_F_REQUEST | NLM_F_DUMP,
        &[family, 0, 0, 0],
        |message| {
            found.push(parse(message)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// Reads a message without its header.
///
/// # Errors
/// When it is cut off.
pub fn parse(message: &[u8]) -> io::Result<Chain> {
    let (head, rest) = message
        .split_first_chunk::<HEAD_LENGTH>()
        .ok_or_else(|| io::Error::other("a chain without a head"))?;
    let [family, ..] = *head;
    let mut chain = Chain {
        family,
        table: String::new(),
        name: String::new(),
    };
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind() {
            CHAIN_TABLE => chain.table = text(attribute.value()),
            CHAIN_NAME => chain.name = text(attribute.value()),
            _ => {}
        }
    }
    Ok(chain)
}

/// A text as C has it.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    let text = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}
