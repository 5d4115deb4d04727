//! The wg-quick configuration: written once a connect, never read back by us.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use askama::Template;

use super::WireGuardError;
use crate::system::files::{self, FileError};
use crate::system::secret::Secret;

/// All that goes into `wg0.conf`.
#[derive(Debug, Clone, Template)]
#[template(path = "wg0.conf", escape = "none", ext = "txt")]
pub struct Conf {
    /// For the comment at the top.
    pub location: String,
    pub private_key: Secret,
    /// The tunnel's own address.
    pub address: Ipv4Addr,
    /// Set by us, so that it is known before wg-quick runs: see
    /// [`FWMARK`](crate::system::paths::FWMARK). With 0 wg-quick chooses one, and the file is for a
    /// host, which keeps it.
    pub mark: u32,
    /// Comma-separated; empty leaves the container's DNS alone.
    pub dns: String,
    pub mtu: Option<u32>,
    /// The server's public key.
    pub peer: String,
    pub endpoint: SocketAddrV4,
    pub keepalive: Option<u16>,
    pub server_cn: String,
    /// Told in a comment, where users' own scripts have always found it.
    pub port_forwarding_gateway: Option<Ipv4Addr>,
}

impl Conf {
    /// Writes it, readable by the owner alone, as it holds the private key.
    ///
    /// # Errors
    /// When the directory cannot be made or written.
    pub fn write(&self, path: &Path) -> Result<(), WireGuardError> {
        let text = self.text()?;
        if let Some(directory) = path.parent() {
            files::make_directory(directory)?;
        }
        files::replace(path, text.as_bytes(), 0o600)?;
        Ok(())
    }

    /// Writes it into what is there already and no plain file: a terminal, a pipe.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_into(&self, path: &Path) -> Result<(), WireGuardError> {
        let text = self.text()?;
        let write = || {
            OpenOptions::new()
                .write(true)
                .open(path)?
                .write_all(text.as_bytes())
        };
        Ok(write().map_err(|source| FileError::new("writing", path, source))?)
    }

    pub(super) fn text(&self) -> Result<String, WireGuardError> {
        let text = self.render().map_err(|source| WireGuardError::Template {
            what: "wg0.conf",
            source,
        })?;
        Ok(format!("{text}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::paths;

    fn conf() -> Conf {
        Conf {
            location: "swiss".into(),
            private_key: Secret::new("PRIV="),
            address: Ipv4Addr::new(10, 1, 2, 3),
            peer: "PEER=".into(),
            endpoint: "192.0.2.7:1337".parse().unwrap(),
            server_cn: "zurich406".into(),
            mark: paths::FWMARK,
            dns: String::new(),
            mtu: None,
            keepalive: None,
            port_forwarding_gateway: None,
        }
    }

    #[test]
    fn the_least_configuration() {
        assert_eq!(
            conf().render().unwrap().trim_end(),
            "# Written by wireguard-pia for swiss; made anew at every \
             start.\n[Interface]\nPrivateKey = PRIV=\nAddress = 10.1.2.3\n\
             FwMark = 51820\n\n[Peer]\nPublicKey = PEER=\nAllowedIPs = 0.0.0.0/0\nEndpoint = \
             192.0.2.7:1337"
        );
    }

    #[test]
    fn everything_set() {
        let all = Conf {
            dns: "10.0.0.243,10.0.0.242".into(),
            mtu: Some(1300),
            keepalive: Some(25),
            port_forwarding_gateway: Some(Ipv4Addr::new(10, 1, 2, 1)),
            ..conf()
        };
        let text = all.render().unwrap();
        for line in [
            "DNS = 10.0.0.243,10.0.0.242",
            "MTU = 1300",
            "PersistentKeepalive = 25",
            "#cn: zurich406",
            "#pf api ip: 10.1.2.1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
