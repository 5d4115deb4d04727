//! The kernel's two packet filters, and what iptables calls its programs for each.

use std::fmt;

/// Which of the kernel's two packet filters iptables drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Backend {
    NfTables,
    Legacy,
}

/// As `iptables --version` names it.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NfTables => "nf_tables",
            Self::Legacy => "legacy",
        })
    }
}

impl Backend {
    /// The one that `NFTABLES` names.
    pub fn from_nf_tables(is_nf_tables: bool) -> Self {
        if is_nf_tables {
            Self::NfTables
        } else {
            Self::Legacy
        }
    }

    /// Those that may be used, the better one first.
    pub(super) fn wanted(choice: Option<Self>) -> Vec<Self> {
        match choice {
            Some(backend) => vec![backend],
            None => vec![Self::NfTables, Self::Legacy],
        }
    }

    /// The one that is not this.
    pub(super) fn other(self) -> Self {
        match self {
            Self::NfTables => Self::Legacy,
            Self::Legacy => Self::NfTables,
        }
    }

    /// The name under which a program of this backend is installed beside the other's:
    /// `iptables-nft-restore`.
    pub(super) fn own_name(self, name: &str) -> String {
        match self {
            Self::NfTables => name.replacen("tables", "tables-nft", 1),
            Self::Legacy => name.replacen("tables", "tables-legacy", 1),
        }
    }

    /// The one binary that is all programs of this backend, by the name that it is called by.
    pub(super) fn multi_call(self) -> &'static str {
        match self {
            Self::NfTables => "xtables-nft-multi",
            Self::Legacy => "xtables-legacy-multi",
        }
    }
}
