//! Which server to connect to, and through which hosts to ask for it.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::quotes;
use super::values::PortNumber;
use super::variables::{Variables, entry};
use super::warning::Warning;
use crate::system::secret::Secret;

/// Which server to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerChoice {
    /// `PIA_IP`, `PIA_CN` and `PIA_PORT`.
    Manual { ip: Ipv4Addr, cn: String, port: u16 },
    /// `PIA_DIP_TOKEN`.
    DedicatedIp(Secret),
    /// `LOC`, in order of preference. What stood between two commas is one text, which may hold
    /// several ids, or a name of several words: that is told apart where the server list is known.
    Locations(Vec<String>),
    /// `LOC=auto`.
    Nearest,
    /// `LOC=fastest: …`: of these locations the one with the lowest latency.
    NearestOf(Vec<String>),
    /// The server of this common name, by a command alone: where a list names it, or else where it
    /// was seen, as each list names but a few.
    Server {
        cn: String,
        seen: Option<SeenServer>,
    },
    /// Nothing was said: print the locations.
    Unset,
}

/// Where a server was when we were connected to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenServer {
    /// Its location's id.
    pub location: String,
    pub ip: Ipv4Addr,
    pub port_forwarding: bool,
}

impl ServerChoice {
    /// Notes where the server of this name is, if it is the one that is chosen.
    pub fn note_seen(&mut self, name: &str, at: SeenServer) {
        if let Self::Server { cn, seen } = self
            && cn.eq_ignore_ascii_case(name)
        {
            *seen = Some(at);
        }
    }

    /// Whether it is made among what the server list names.
    pub fn is_from_list(&self) -> bool {
        use ServerChoice::{DedicatedIp, Locations, Manual, Nearest, NearestOf, Server, Unset};
        match self {
            Locations(_) | Nearest | NearestOf(_) | Server { .. } => true,
            Manual { .. } | DedicatedIp(_) | Unset => false,
        }
    }

    /// From a list of location ids and names, with `fastest:` before it or not, or `auto`.
    pub fn from_locations(text: &str) -> Self {
        match text.split_once(':') {
            Some((word, list)) if word.trim().eq_ignore_ascii_case("fastest") => {
                match Self::from_list(list) {
                    Self::Locations(locations) => Self::NearestOf(locations),
                    other => other,
                }
            }
            _ => Self::from_list(text),
        }
    }

    fn from_list(text: &str) -> Self {
        let mut locations = Vec::new();
        for part in text.split([',', '\n']) {
            let part = quotes::enclosed(part).unwrap_or(part);
            let words: Vec<&str> = part.split_whitespace().collect();
            if !words.is_empty() {
                locations.push(words.join(" "));
            }
        }
        match locations.as_slice() {
            [] => Self::Unset,
            [only] if only.eq_ignore_ascii_case("auto") => Self::Nearest,
            _ => Self::Locations(locations),
        }
    }

    /// What the variables say, and a warning for each that is wrong about that.
    pub fn from_environment(environment: &Environment) -> (Self, Vec<Warning>) {
        let (variables, mut warnings) = environment.variables();
        let choice = Self::of(&variables, &mut warnings);
        let names = [entry::pia_ip.name, entry::pia_cn.name, entry::pia_port.name];
        warnings.retain(|warning| names.contains(&warning.variable));
        (choice, warnings)
    }

    pub(super) fn of(variables: &Variables, warnings: &mut Vec<Warning>) -> Self {
        if let Some(token) = &variables.pia_dip_token {
            return Self::DedicatedIp(Secret::new(token.expose().trim()));
        }
        match (variables.pia_ip, &variables.pia_cn, variables.pia_port) {
            (Some(ip), Some(cn), Some(PortNumber(port))) => {
                let cn = cn.clone();
                return Self::Manual { ip, cn, port };
            }
            (None, None, None) => {}
            (ip, cn, port) => {
                let needed = [
                    (entry::pia_ip, ip.is_some()),
                    (entry::pia_cn, cn.is_some()),
                    (entry::pia_port, port.is_some()),
                ];
                for (variable, _) in needed.iter().filter(|(_, is_set)| !is_set) {
                    let [(ip, _), (cn, _), (port, _)] = needed;
                    warnings.push(variable.warning(
                        format!(
                            "missing, and {}, {} and {} work only together",
                            ip.name, cn.name, port.name
                        ),
                        format!("{} is used", entry::loc.name),
                    ));
                }
            }
        }
        Self::from_locations(variables.loc.as_deref().unwrap_or_default())
    }
}

/// A meta server replaces the account API and the host of the server list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    pub ip: Ipv4Addr,
    pub cn: String,
    pub port: u16,
}

impl Meta {
    pub(super) fn of(variables: &Variables, warnings: &mut Vec<Warning>) -> Option<Self> {
        let (missing, given) = match (variables.meta_ip, &variables.meta_cn) {
            (Some(ip), Some(cn)) => {
                return Some(Self {
                    ip,
                    cn: cn.clone(),
                    port: variables.meta_port.0,
                });
            }
            (Some(_), None) => (entry::meta_cn, entry::meta_ip),
            (None, Some(_)) => (entry::meta_ip, entry::meta_cn),
            (None, None) => return None,
        };
        warnings.push(missing.warning(
            format!("missing, and {} has no effect without it", given.name),
            "PIA's usual hosts are used",
        ));
        None
    }
}
