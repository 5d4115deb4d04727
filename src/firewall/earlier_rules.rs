//! What stood in the packet filter before the first load of this life, as far as it may be of an
//! earlier one. The kernel tells at once that there is nothing, which is so in a new network;
//! to list all rules takes a program for each backend and family.

use std::path::Path;
use std::{fs, io};

use nix::libc::{AF_INET, AF_INET6};

use super::backend::Backend;
use super::programs::Programs;
use super::tables::Family;
use super::wg_quick_rule;
use crate::system::network_table;
use crate::system::nf_tables::{self, Chain};
use crate::system::paths;

/// Those that a life makes in any of its states.
pub(super) const OUR_CHAINS: [&str; 6] = [
    "PIA_INPUT",
    "PIA_OUTPUT",
    "PIA_FORWARD",
    "PIA_PREROUTING",
    "PIA_POSTROUTING",
    "PIA_PROBE",
];

/// The tables in which wg-quick makes rules by iptables-restore, with no chain of its own.
const WG_QUICK_TABLES: [&str; 2] = ["raw", "mangle"];

/// What may be left of an earlier life.
#[derive(Debug)]
pub(super) struct EarlierRules {
    chains: Vec<Chain>,
    legacy: Vec<Family>,
}

impl EarlierRules {
    /// Looks at what is there now: to be called before the first load.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn look() -> io::Result<Self> {
        let mut legacy = vec![Family::V4, Family::V6];
        legacy.retain(|family| possible(Backend::Legacy, *family));
        let chains = nf_tables::chains()?;
        Ok(Self { chains, legacy })
    }

    /// Whether there may be rules of ours, or of wg-quick's.
    pub fn may_be_in(&self, backend: Backend, family: Family) -> bool {
        match backend {
            Backend::Legacy => self.legacy.contains(&family),
            Backend::NfTables => self.chains.iter().any(|chain| {
                let is_ours = OUR_CHAINS.contains(&chain.name.as_str());
                let may_be_wg_quick_s = WG_QUICK_TABLES.contains(&chain.table.as_str());
                is_of(chain, family) && (is_ours || may_be_wg_quick_s)
            }),
        }
    }

    /// Whether there is a table that wg-quick has made with nft for this interface.
    pub fn has_nft_table(&self, interface: &str) -> bool {
        let name = wg_quick_rule::nft_table(interface);
        self.chains.iter().any(|chain| chain.table == name)
    }
}

/// Whether a life has loaded rules in this network, by whichever backend, and they still stand.
/// Rules that cannot be listed are none that a life of this container's programs has loaded.
pub fn has_our_chains() -> bool {
    let is_ours = |chain: &Chain| OUR_CHAINS.contains(&chain.name.as_str());
    if nf_tables::chains().is_ok_and(|chains| chains.iter().any(is_ours)) {
        return true;
    }
    let private_bin = Path::new(paths::PRIVATE_BIN);
    possible(Backend::Legacy, Family::V4)
        && Programs::find(Backend::Legacy, private_bin)
            .and_then(|programs| programs.save(Family::V4).ok())
            .is_some_and(|rules| rules.contains(":PIA_OUTPUT "))
}

/// Whether this backend may hold rules of an earlier life, as far as that is told without a look at
/// what it holds.
pub(super) fn possible(backend: Backend, family: Family) -> bool {
    let names = match (backend, family) {
        (Backend::NfTables, _) => return true,
        (Backend::Legacy, Family::V4) => "ip_tables_names",
        (Backend::Legacy, Family::V6) => "ip6_tables_names",
    };
    fs::read_to_string(network_table::path(names)).is_ok_and(|names| !names.trim().is_empty())
}

fn is_of(chain: &Chain, family: Family) -> bool {
    let wanted = match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    };
    i32::from(chain.family) == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn earlier(chains: &[(i32, &str, &str)]) -> EarlierRules {
        let chain = |(family, table, name): &(i32, &str, &str)| Chain {
            family: u8::try_from(*family).unwrap(),
            table: (*table).to_owned(),
            name: (*name).to_owned(),
        };
        EarlierRules {
            chains: chains.iter().map(chain).collect(),
            legacy: vec![Family::V6],
        }
    }

    #[test]
    fn rules_of_others_are_none_of_an_earlier_life() {
        let earlier = earlier(&[
            (AF_INET, "nat", "DOCKER_OUTPUT"),
            (AF_INET, "filter", "INPUT"),
            (AF_INET, "wg-quick-wg1", "preraw"),
        ]);
        assert!(!earlier.may_be_in(Backend::NfTables, Family::V4));
        assert!(!earlier.has_nft_table("wg0"));
        assert!(!earlier.may_be_in(Backend::Legacy, Family::V4));
        assert!(earlier.may_be_in(Backend::Legacy, Family::V6));
    }

    #[test]
    fn chains_of_ours_and_tables_of_wg_quick_may_be_left() {
        for (table, name) in [
            ("filter", "PIA_INPUT"),
            ("filter", "PIA_PROBE"),
            ("raw", "PREROUTING"),
            ("mangle", "POSTROUTING"),
        ] {
            let earlier = earlier(&[(AF_INET6, table, name)]);
            assert!(earlier.may_be_in(Backend::NfTables, Family::V6), "{table}");
            assert!(!earlier.may_be_in(Backend::NfTables, Family::V4), "{table}");
        }
        assert!(earlier(&[(AF_INET, "wg-quick-wg0", "preraw")]).has_nft_table("wg0"));
    }
}
