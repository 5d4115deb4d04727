//! From a policy to the tables that enforce it: pure, and the whole of it each time.
//!
//! The templates show a table as the first load of a life sets it. Our rules live in chains of
//! ours, which a load empties first because it declares them. Only the jumps to them are appended
//! to the built-in chains: by the first load, never again.

use std::collections::BTreeSet;
use std::net::Ipv6Addr;

use askama::Template;
use ipnet::IpNet;

use super::error::FirewallError;
use super::open_ranges::{self, Neighbourhood, OpenRange};
use super::policy::{Arrival, EmbeddedDns, EmbeddedDnsAskers, GatewayDns, Policy, TunnelPolicy};
use super::table::Table;
use super::tables::{Family, TableName};
use super::traffic::{Matched, Protocol};
use super::wire::{EgressInterface, Stamping};
use crate::system::interface_name;

/// The tables of a family under this policy; those that would be empty as well, for they may have
/// to be emptied.
///
/// # Errors
/// When an interface has a name that cannot stand in a rule.
pub(super) fn render(
    policy: &Policy,
    family: Family,
    strict_rp_filter: bool,
    stamping: Stamping<'_>,
) -> Result<Vec<Table>, FirewallError> {
    check_interfaces(policy)?;
    let mark = format!("{:#x}", policy.mark);
    let stamp = format!("{:#x}", stamping.stamp);
    let mangle = Mangle {
        mark: &mark,
        wanted: strict_rp_filter && policy.tunnel.is_some() && family == Family::V4,
        stamp: &stamp,
        stamped: stamping.interfaces,
    };
    let mangle = Table::parse(TableName::Mangle, &mangle.render()?)?;
    let tunnel = policy.tunnel.iter();
    let open_ranges: Vec<OpenRange<'_>> = tunnel
        .flat_map(|tunnel| open_ranges::open_ranges(tunnel, family))
        .collect();
    if family == Family::V6 {
        let filter = Filter6 {
            servers: &policy.name_servers_v6,
            mark: &mark,
            neighbourhoods: open_ranges::neighbourhoods(&open_ranges),
            answered: open_ranges::answered(&open_ranges),
            open_ranges: &open_ranges,
        };
        return match policy.sealed {
            true => Ok(vec![
                Table::parse(TableName::Filter, &filter.render()?)?,
                mangle,
            ]),
            false => Ok(Vec::new()),
        };
    }
    let filter = Filter {
        policy,
        mark: &mark,
        answered: open_ranges::answered(&open_ranges),
        open_ranges: &open_ranges,
    };
    let nat = Nat { policy };
    Ok(vec![
        Table::parse(TableName::Filter, &filter.render()?)?,
        Table::parse(TableName::Nat, &nat.render()?)?,
        mangle,
    ])
}

#[derive(Template)]
#[template(path = "filter.rules", escape = "none")]
struct Filter<'a> {
    policy: &'a Policy,
    mark: &'a str,
    answered: BTreeSet<IpNet>,
    open_ranges: &'a [OpenRange<'a>],
}

#[derive(Template)]
#[template(path = "filter6.rules", escape = "none")]
struct Filter6<'a> {
    servers: &'a [Ipv6Addr],
    mark: &'a str,
    neighbourhoods: Vec<Neighbourhood<'a>>,
    answered: BTreeSet<IpNet>,
    open_ranges: &'a [OpenRange<'a>],
}

#[derive(Template)]
#[template(path = "nat.rules", escape = "none")]
struct Nat<'a> {
    policy: &'a Policy,
}

#[derive(Template)]
#[template(path = "mangle.rules", escape = "none")]
struct Mangle<'a> {
    mark: &'a str,
    wanted: bool,
    stamp: &'a str,
    stamped: &'a [EgressInterface],
}

fn check_interfaces(policy: &Policy) -> Result<(), FirewallError> {
    let names = policy.tunnel.iter().flat_map(TunnelPolicy::interfaces);
    for name in names {
        if !interface_name::is_valid(name) {
            return Err(FirewallError::Interface {
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}
