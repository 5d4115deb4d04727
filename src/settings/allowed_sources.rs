//! `FWD_SOURCES`: who may use the tunnel through this gateway.

use ipnet::Ipv4Net;

use super::local_network;
use super::read::{Read, list};
use super::variable::Variable;
use super::warning::Warning;

/// Who may use the tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSources(pub Vec<Ipv4Net>);

impl AllowedSources {
    /// All, where nobody is named.
    pub(super) fn all() -> Self {
        Self(vec![Ipv4Net::default()])
    }
}

/// Where none of the entries makes sense nobody may: a slip lets no one in.
impl Read for AllowedSources {
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let Some(text) = text else {
            return Self::all();
        };
        let mut sources = Vec::new();
        for part in list(text) {
            match local_network::parse(part) {
                Some(typed) => {
                    let range = typed.trunc();
                    if typed != range {
                        let problem = format!("{part} is one host of a range");
                        let consequence = format!("the whole range, {range}, may use the tunnel");
                        warnings.push(variable.warning(problem, consequence));
                    }
                    sources.push(range);
                }
                None => {
                    let expected = "an IPv4 address or range such as 192.168.1.10";
                    warnings.push(variable.unfit(part, expected, "it may not use the tunnel"));
                }
            }
        }
        Self(sources)
    }
}
