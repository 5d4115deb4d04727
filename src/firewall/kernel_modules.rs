//! What a kernel may lack, how to find out, and what is left of a rule without it.

use super::rules::TableName;

/// A match or target that needs a kernel module of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KernelModule {
    Ports,
    Conntrack,
    Mark,
    Owner,
    Connmark,
    Masquerade,
    Redirect,
    Dnat,
}

impl KernelModule {
    const ALL: [Self; 8] = [
        Self::Ports,
        Self::Conntrack,
        Self::Mark,
        Self::Owner,
        Self::Connmark,
        Self::Masquerade,
        Self::Redirect,
        Self::Dnat,
    ];

    /// The modules that rules in `text` need.
    pub fn used_in(text: &str) -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|module| text.contains(module.token()))
    }

    /// How much is lost without these; without the first two no tunnel comes up at all.
    pub fn weight(missing: &[Self]) -> usize {
        missing
            .iter()
            .map(|module| {
                if matches!(module, Self::Ports | Self::Conntrack) {
                    100
                } else {
                    1
                }
            })
            .sum()
    }

    /// The kernel module that offers it.
    pub fn kernel_name(self) -> &'static str {
        match self {
            Self::Ports => "xt_tcpudp",
            Self::Conntrack => "xt_conntrack",
            Self::Mark => "xt_mark",
            Self::Owner => "xt_owner",
            Self::Connmark => "xt_connmark",
            Self::Masquerade => "xt_MASQUERADE",
            Self::Redirect => "xt_REDIRECT",
            Self::Dnat => "xt_nat",
        }
    }

    /// What is given up without it.
    pub fn consequence(self) -> &'static str {
        match self {
            Self::Ports => "no rule can name a port, so PIA cannot be reached",
            Self::Conntrack => {
                "no answer can be told from other incoming traffic, so all of it stays blocked"
            }
            Self::Mark => {
                "the API and the endpoint can be reached by everything in this network, not by us \
                 alone"
            }
            Self::Owner => "Docker's embedded DNS cannot resolve names until the tunnel is up",
            Self::Connmark => {
                "with strict rp_filter, PIA's API cannot be reached while the tunnel is up"
            }
            Self::Masquerade => "FWD_IFACE does not work",
            Self::Redirect => "PORT_REDIRECT does not work",
            Self::Dnat => "PF_DEST_IP does not work",
        }
    }

    /// A rule that shows whether it is there, and the table that the rule needs.
    pub fn probe(self) -> (TableName, &'static str) {
        match self {
            Self::Ports => (TableName::Filter, "-p tcp --dport 1"),
            Self::Conntrack => (
                TableName::Filter,
                "-m conntrack --ctstate RELATED,ESTABLISHED",
            ),
            Self::Mark => (TableName::Filter, "-m mark --mark 0x1"),
            Self::Owner => (TableName::Filter, "-m owner --uid-owner 0"),
            Self::Connmark => (TableName::Mangle, "-p tcp -j CONNMARK --restore-mark"),
            Self::Masquerade => (TableName::Nat, "-j MASQUERADE"),
            Self::Redirect => (TableName::Nat, "-p tcp -j REDIRECT --to-ports 1"),
            Self::Dnat => (
                TableName::Nat,
                "-p tcp -j DNAT --to-destination 192.0.2.1:1",
            ),
        }
    }

    /// `text` without what is `missing`.
    pub fn strip(missing: &[Self], text: &str) -> String {
        text.lines()
            .filter_map(|line| Self::without(missing, line))
            .map(|line| line + "\n")
            .collect()
    }

    /// `line` without what is `missing`; `None` where nothing safe is left. Only a mark may be left
    /// out of a rule, because the exact address and port remain.
    fn without(missing: &[Self], line: &str) -> Option<String> {
        let mut line = line.to_owned();
        for module in missing {
            if !line.contains(module.token()) {
                continue;
            }
            if *module != Self::Mark || !line.contains(" --dport ") {
                return None;
            }
            let words: Vec<&str> = line.split(' ').collect();
            let start = words.windows(2).position(|pair| pair == ["-m", "mark"])?;
            line = [words.get(..start)?, words.get(start + 4..)?]
                .concat()
                .join(" ");
        }
        Some(line)
    }

    fn token(self) -> &'static str {
        match self {
            Self::Ports => " --dport ",
            Self::Conntrack => " -m conntrack ",
            Self::Mark => " -m mark ",
            Self::Owner => " -m owner ",
            Self::Connmark => " -j CONNMARK ",
            Self::Masquerade => " -j MASQUERADE",
            Self::Redirect => " -j REDIRECT ",
            Self::Dnat => " -j DNAT ",
        }
    }
}
