//! The chains of nf_tables, whoever made them, and word of changes, by nfnetlink(7).

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use nix::errno::Errno;
use nix::libc::{
    AF_UNSPEC, NFNL_SUBSYS_NFTABLES, NFNLGRP_NFTABLES, NFT_MSG_GETCHAIN, NFT_MSG_NEWGEN,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};

use super::netlink::{self, attributes};

// From linux/netfilter/nf_tables.h.
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
/// The table's name, in messages about tables, chains and rules alike.
const OF_TABLE: u16 = 1;
/// What the kernel puts into one datagram of changes at most (`NLMSG_GOODSIZE`). On the stack, as
/// what threads free of a heap may stay with the program.
const MAX_DATAGRAM: usize = 8 * 1024;
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

/// What the kernel tells of changes, whoever makes them, from the moment this is made.
#[derive(Debug)]
pub struct CommitListener {
    socket: OwnedFd,
}

impl CommitListener {
    /// # Errors
    /// When the kernel has no nf_tables, or the capability `NET_ADMIN` is missing.
    pub fn listen() -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        let group = u32::try_from(NFNLGRP_NFTABLES).map_err(io::Error::other)?;
        let groups = 1_u32
            .checked_shl(group.saturating_sub(1))
            .unwrap_or_default();
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self { socket })
    }

    /// Waits until the program with this process id, whose socket has it as its port, has changed
    /// all of these tables and the kernel has put that in force, until the other end of `ended` is
    /// closed, or until `timeout` is over. Whether it was heard.
    pub fn hear(
        &self,
        pid: u32,
        tables: &[String],
        ended: BorrowedFd<'_>,
        timeout: Duration,
    ) -> bool {
        let (mut hearing, begun) = (Hearing::of(pid, tables), Instant::now());
        let mut buffer = [0; MAX_DATAGRAM];
        while !hearing.is_done() {
            let mut any = [
                PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
                PollFd::new(ended, PollFlags::empty()),
            ];
            let left = timeout.saturating_sub(begun.elapsed());
            match poll(
                &mut any,
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX),
            ) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
            let [told, _] = any;
            if !told.any().unwrap_or_default() {
                return false;
            }
            // Too much for the kernel to keep, for one: then the program's end says what it did.
            let Ok((length, from)) = recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut buffer)
            else {
                return false;
            };
            let datagram = buffer.get(..length).unwrap_or_default();
            if from.is_some_and(|from| from.pid() == 0) && hearing.take(datagram).is_err() {
                return false;
            }
        }
        true
    }
}

/// How far a program has come, by what the kernel told.
#[derive(Debug)]
pub struct Hearing {
    /// The program's.
    port: u32,
    awaited: BTreeSet<String>,
    /// Changed, and not in force yet.
    changed: BTreeSet<String>,
}

impl Hearing {
    /// Nothing was told yet.
    pub fn of(port: u32, tables: &[String]) -> Self {
        Self {
            port,
            awaited: tables.iter().cloned().collect(),
            changed: BTreeSet::new(),
        }
    }

    /// Whether all of the tables are changed and that is in force.
    pub fn is_done(&self) -> bool {
        self.awaited.is_empty()
    }

    /// Takes what was told: all changes of a transaction, and at its end that it is in force.
    ///
    /// # Errors
    /// When a message is cut off.
    pub fn take(&mut self, datagram: &[u8]) -> io::Result<()> {
        netlink::read_told(datagram, &mut |port, kind, body| {
            let of_nf_tables = NFNL_SUBSYS_NFTABLES << 8;
            if port != self.port || i32::from(kind) & 0xff00 != of_nf_tables {
                return;
            }
            if i32::from(kind) == of_nf_tables | NFT_MSG_NEWGEN {
                let changed = std::mem::take(&mut self.changed);
                self.awaited.retain(|table| !changed.contains(table));
            } else if let Some(table) = table_of(body) {
                self.changed.insert(table);
            }
        })
    }
}

fn table_of(message: &[u8]) -> Option<String> {
    let attributes = attributes(message.get(HEAD_LENGTH..)?).map_while(Result::ok);
    let mut of_table = attributes.filter(|attribute| attribute.kind() == OF_TABLE);
    of_table.next().map(|attribute| text(attribute.value()))
}

/// A text as C has it.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    let text = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::netlink::text_attribute;
    use nix::libc::NFT_MSG_NEWRULE;

    const PORT: u32 = 4711;

    fn message(port: u32, kind: i32, table: &str) -> Vec<u8> {
        let kind = u16::try_from(NFNL_SUBSYS_NFTABLES << 8 | kind).unwrap();
        let body = [&[0; HEAD_LENGTH][..], &text_attribute(OF_TABLE, table)].concat();
        let length = u32::try_from(16 + body.len()).unwrap();
        [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &[0; 6],
            &port.to_ne_bytes(),
            &body,
        ]
        .concat()
    }

    #[test]
    fn a_table_is_changed_when_its_transaction_is_in_force() {
        let mut hearing = Hearing::of(PORT, &["filter", "nat"].map(str::to_owned));
        let mut told = |messages: &[(u32, i32, &str)]| {
            let bytes: Vec<u8> = messages
                .iter()
                .flat_map(|(port, kind, table)| message(*port, *kind, table))
                .collect();
            hearing.take(&bytes).unwrap();
            hearing.is_done()
        };
        let rule = |table| (PORT, NFT_MSG_NEWRULE, table);
        let end = (PORT, NFT_MSG_NEWGEN, "");
        assert!(!told(&[rule("filter"), rule("filter"), end]));
        assert!(!told(&[(PORT + 1, NFT_MSG_NEWRULE, "nat"), end]));
        assert!(!told(&[rule("nat"), (PORT + 1, NFT_MSG_NEWGEN, "")]));
        assert!(told(&[end]));
        assert!(hearing.take(&[1, 2, 3]).is_err());
    }
}
