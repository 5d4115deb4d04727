//! What the kernel counts at the rules: for the status server's figures.

use std::path::PathBuf;

use super::arrivals;
use super::dropped::{self, DroppedPackets};
use super::programs::Programs;
use super::tables::{Family, TableName};
use super::wire;

/// What was counted since the rules were loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountedPackets {
    /// A wall whose counters cannot be read is left out.
    pub dropped: DroppedPackets,
    /// Connections and first datagrams that came in by the forwarded port.
    pub arrivals: Option<u64>,
}

/// Where the counters are: read without holding up whoever loads rules.
#[derive(Debug, Clone)]
pub struct RuleCounters {
    pub(super) programs: Programs,
    pub(super) families: Vec<Family>,
    /// With which the chains at the network cards were loaded.
    pub(super) nft: Option<PathBuf>,
}

impl RuleCounters {
    /// What they say now, also of this forwarded port.
    pub fn read(&self, port: Option<u16>) -> CountedPackets {
        let mut counted = CountedPackets::default();
        for family in &self.families {
            let Some(filter) = self.save(*family, TableName::Filter) else {
                continue;
            };
            let dropped = dropped::in_filter(&filter);
            match family {
                Family::V4 => {
                    counted.arrivals = port.and_then(|port| self.arrivals(&filter, port));
                    counted.dropped.insert("iptables".to_owned(), dropped);
                }
                Family::V6 => {
                    counted.dropped.insert("ip6tables".to_owned(), dropped);
                }
            }
        }
        if let Some(nft) = &self.nft {
            match wire::list(nft) {
                Ok(listed) => {
                    let dropped = dropped::in_egress(&listed);
                    counted.dropped.insert("egress".to_owned(), dropped);
                }
                Err(error) => log::debug!("packets dropped: {error}"),
            }
        }
        counted
    }

    /// What is led elsewhere is counted in another table than what is let in.
    fn arrivals(&self, filter: &str, port: u16) -> Option<u64> {
        arrivals::arrivals_in(filter, port)
            .or_else(|| arrivals::arrivals_in(&self.save(Family::V4, TableName::Nat)?, port))
    }

    fn save(&self, family: Family, table: TableName) -> Option<String> {
        self.programs
            .save_counted(family, table)
            .inspect_err(|error| log::debug!("counters of {family:?}: {error}"))
            .ok()
    }
}
