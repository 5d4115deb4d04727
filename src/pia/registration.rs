//! Registering a WireGuard key at a VPN server: what is asked, and what of the answer is believed.
//! Which server, and what becomes of the tunnel, is not known here.

use std::net::Ipv4Addr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ipnet::Ipv4Net;
use serde_json::Value;

use super::credentials::Token;
use super::error::{ApiError, ApiErrorKind, Call};
use super::host::Host;
use super::messages::AddKeyAnswer;
use super::request::Ask;
use super::tunnel_address::{ImpossibleAddress, PIA_DNS, TunnelAddress};
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;
use crate::underlay::http::Response;

const KEY_LENGTH: usize = 32;

/// What proves to a server that the account may register.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    Token(&'a Token),
    /// The token of a dedicated IP, and the address of its server.
    DedicatedIp {
        token: &'a Secret,
        ip: Ipv4Addr,
    },
}

/// A server's answer to a new key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The peer's key, base64.
    pub server_public_key: String,
    /// Where WireGuard listens; not necessarily 1337.
    pub server_port: u16,
    /// The server's own address, which need not be the one in the list.
    pub server_ip: Option<Ipv4Addr>,
    /// The gateway inside the tunnel, which forwards ports.
    pub server_vip: Option<TunnelAddress>,
    /// Our address inside the tunnel.
    pub peer_ip: TunnelAddress,
    /// The tunnel's name servers: never empty.
    pub dns_servers: Vec<TunnelAddress>,
}

impl Registration {
    /// Where ports are asked for, one after the other: the gateway, and where that does not serve,
    /// the server's own address has worked. `listed` is that of the list.
    pub fn port_services(&self, listed: Ipv4Addr) -> Vec<Ipv4Addr> {
        let gateway = self.server_vip.map(Ipv4Addr::from);
        let mut addresses = Vec::new();
        for address in gateway.into_iter().chain(self.server_ip).chain([listed]) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Whether its addresses can be those of a tunnel next to these networks: `attached` are the
    /// container's own, each with its own address and prefix, `local` the ranges of its LAN. The
    /// name servers are not asked about: people's LANs are often 10.0.0.0/24, which holds PIA's.
    ///
    /// # Errors
    /// Names the address that cannot be true.
    pub fn is_plausible(
        &self,
        attached: &[Ipv4Net],
        local: &[Ipv4Net],
    ) -> Result<(), ImpossibleAddress> {
        self.peer_ip.check("peer_ip", attached, local)?;
        match self.server_vip {
            Some(gateway) => gateway.check("server_vip", attached, local),
            None => Ok(()),
        }
    }
}

/// Registers `public_key` (base64) at `host`, in one try of at most `timeout`. Which server is
/// asked after that, or beside it, is not decided here.
pub fn add_key(
    host: &Host,
    proof: Proof<'_>,
    public_key: &str,
    timeout: Duration,
    stop: &CancellationToken,
) -> Result<Registration, ApiError> {
    let read = |ask: &Ask<'_>, response: &Response| read_registration(ask, response, public_key);
    let ask = Ask::new(Call::AddKey, host, "/addKey");
    match proof {
        Proof::Token(token) => {
            let query = [("pt", token.expose()), ("pubkey", public_key)];
            Ask {
                query: &query,
                secrets: &[token.secret()],
                ..ask
            }
            .send(timeout, stop, read)
        }
        Proof::DedicatedIp { token, ip } => {
            let user = format!("dedicated_ip_{}:{ip}", token.expose());
            let authorization = format!("Basic {}", BASE64_STANDARD.encode(user));
            let headers = [("Authorization", authorization.as_str())];
            let query = [("pubkey", public_key)];
            Ask {
                query: &query,
                headers: &headers,
                secrets: &[token],
                ..ask
            }
            .send(timeout, stop, |ask, response| {
                read(ask, response).map_err(of_dedicated_ip)
            })
        }
    }
}

/// What is refused there is the dedicated IP: the account's token is no part of the request.
fn of_dedicated_ip(failure: ApiErrorKind) -> ApiErrorKind {
    match failure {
        ApiErrorKind::LoginFailed | ApiErrorKind::TokenRefused => ApiErrorKind::DedicatedIpRefused,
        failure => failure,
    }
}

pub(super) fn read_registration(
    ask: &Ask<'_>,
    response: &Response,
    public_key: &str,
) -> Result<Registration, ApiErrorKind> {
    // A refusal comes as JSON with any HTTP status.
    let answer: AddKeyAnswer = match ask.json(response) {
        Ok(answer) => answer,
        Err(malformed) => return Err(ask.refusal(response).unwrap_or(malformed)),
    };
    let message = answer.message.unwrap_or_default();
    match answer.status.as_deref() {
        Some("OK") => (),
        _ if message.to_ascii_lowercase().starts_with("login failed") => {
            return Err(ApiErrorKind::LoginFailed);
        }
        None => return Err(ask.refusal(response).unwrap_or_else(|| lacks("status"))),
        // Whatever it says beside that.
        Some(_) if response.status == 401 => return Err(ApiErrorKind::TokenRefused),
        // As much of a server that is merely busy.
        Some(status) => {
            if matches!(response.status, 408 | 429 | 500..=599)
                && let Some(trouble) = ask.refusal(response)
            {
                return Err(trouble);
            }
            return Err(ApiErrorKind::RegistrationRefused {
                message: ask.excerpt(&format!("{status}: {message}")),
            });
        }
    }
    if answer.peer_pubkey.as_deref() != Some(public_key) {
        return Err(ApiErrorKind::ForeignKey);
    }
    let server_port = answer.server_port;
    if server_port == 0 {
        return Err(lacks("server_port"));
    }
    let peer_ip = answer.peer_ip.as_deref().map(str::trim);
    let peer_ip: Ipv4Addr = peer_ip
        .and_then(|text| text.trim_end_matches("/32").parse().ok())
        .ok_or_else(|| lacks("peer_ip"))?;
    Ok(Registration {
        server_public_key: answer
            .server_key
            .filter(|key| is_key(key))
            .ok_or_else(|| lacks("server_key"))?,
        server_port,
        server_ip: answer.server_ip.as_str().and_then(|text| text.parse().ok()),
        server_vip: answer.server_vip.and_then(|text| text.parse().ok()),
        peer_ip: TunnelAddress::new(peer_ip).ok_or(ImpossibleAddress::NotInATunnel {
            field: "peer_ip",
            address: peer_ip,
        })?,
        dns_servers: usable_name_servers(&answer.dns_servers),
    })
}

/// Without any, look-ups would go to the former name servers, outside the tunnel.
fn usable_name_servers(named: &Value) -> Vec<TunnelAddress> {
    let named = named.as_array().into_iter().flatten();
    let usable: Vec<TunnelAddress> = named
        .filter_map(|server| server.as_str()?.parse().ok())
        .collect();
    if !usable.is_empty() {
        return usable;
    }
    let [first, second] = PIA_DNS;
    log::warn!("The server names no usable name servers; PIA's own are used: {first}, {second}");
    PIA_DNS.to_vec()
}

fn lacks(field: &str) -> ApiErrorKind {
    ApiErrorKind::Malformed(format!("{field} is missing or invalid"))
}

fn is_key(text: &str) -> bool {
    BASE64_STANDARD
        .decode(text)
        .is_ok_and(|key| key.len() == KEY_LENGTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pia::regions::Server;
    use crate::pia::trust::tests::nobody;
    use crate::underlay::socket::Via;
    use serde_json::{Value, json};

    const OURS: &str = "b3Vycz1vdXJzPW91cnM9b3Vycz1vdXJzPW91cnM9b3U=";

    fn good() -> Value {
        json!({"status": "OK", "server_key": BASE64_STANDARD.encode([7; 32]), "server_port": 1338,
            "server_ip": "192.0.2.9", "server_vip": "10.7.128.1", "peer_ip": "10.7.33.2/32",
            "peer_pubkey": OURS,
            "dns_servers": ["10.0.0.243", "nonsense", "10.0.0.242"], "new": {}})
    }

    fn read(status: u16, body: &str) -> Result<Registration, ApiErrorKind> {
        let server = Server::new("zurich406", "192.0.2.1").unwrap();
        let host = Host::server(&server, 1337, &nobody(), Via::Routing);
        let response = Response {
            status,
            retry_after: None,
            headers: Vec::new(),
            body: body.into(),
        };
        read_registration(&Ask::new(Call::AddKey, &host, "/addKey"), &response, OURS)
    }

    fn read_with(field: &str, value: Value) -> Result<Registration, ApiErrorKind> {
        let mut answer = good();
        answer[field] = value;
        read(200, &answer.to_string())
    }

    #[test]
    fn a_good_answer() {
        let registration = read(200, &good().to_string()).unwrap();
        assert_eq!(registration.server_port, 1338);
        assert_eq!(registration.peer_ip.to_string(), "10.7.33.2");
        assert_eq!(registration.server_vip.unwrap().to_string(), "10.7.128.1");
        assert_eq!(registration.dns_servers.len(), 2);
        assert_eq!(
            read_with("peer_ip", json!("10.7.33.2")).unwrap().peer_ip,
            registration.peer_ip
        );
    }

    #[test]
    fn a_port_may_be_a_text() {
        let port = |value| read_with("server_port", value).map(|answer| answer.server_port);
        assert_eq!(port(json!("1337")).unwrap(), 1337);
        for bad in ["0", "65536", "-1", "", "wg"].map(Value::from) {
            let refused = port(bad.clone()).unwrap_err();
            assert!(matches!(refused, ApiErrorKind::Malformed(_)), "{bad}");
        }
    }

    #[test]
    fn ports_are_asked_for_at_the_gateway_and_then_at_both_addresses_of_the_server() {
        let services = |field, value| {
            let registration = read_with(field, value).unwrap();
            let addresses = registration.port_services(Ipv4Addr::new(192, 0, 2, 1));
            let texts = addresses.iter().map(Ipv4Addr::to_string);
            texts.collect::<Vec<_>>().join(" ")
        };
        let ip = |value| services("server_ip", value);
        assert_eq!(ip(json!("192.0.2.9")), "10.7.128.1 192.0.2.9 192.0.2.1");
        for none in [json!("192.0.2.1"), json!("?"), json!(5), Value::Null] {
            assert_eq!(ip(none), "10.7.128.1 192.0.2.1");
        }
        let without_gateway = services("server_vip", Value::Null);
        assert_eq!(without_gateway, "192.0.2.9 192.0.2.1");
    }

    #[test]
    fn refusals() {
        let login = r#"{"status":"ERROR","message":"Login failed!"}"#;
        assert!(matches!(read(200, login), Err(ApiErrorKind::LoginFailed)));
        assert!(matches!(read(401, login), Err(ApiErrorKind::LoginFailed)));
        let over = r#"{"status":"ERROR","message":"token expired"}"#;
        assert!(matches!(read(401, over), Err(ApiErrorKind::TokenRefused)));
        let full = read(200, r#"{"status":"ERROR","message":"server\nfull"}"#).unwrap_err();
        assert_eq!(full.to_string(), "the server refused: ERROR: server full");
        let busy = r#"{"status":"ERROR","message":"busy"}"#;
        assert!(matches!(
            read(503, busy),
            Err(ApiErrorKind::ServerTrouble { status: 503 })
        ));
        assert!(matches!(
            read(429, busy),
            Err(ApiErrorKind::RateLimited { retry_after: None })
        ));
        assert!(matches!(
            read(503, "busy"),
            Err(ApiErrorKind::ServerTrouble { status: 503 })
        ));
        assert!(matches!(
            read(200, "<html>"),
            Err(ApiErrorKind::WebPage { .. })
        ));
        assert!(matches!(read(200, "{"), Err(ApiErrorKind::Malformed(_))));
        assert!(matches!(read(200, "{}"), Err(ApiErrorKind::Malformed(_))));
    }

    #[test]
    fn addresses_that_no_tunnel_has_are_not_believed() {
        for address in ["0.0.0.0", "127.0.0.1", "8.8.8.8", "224.0.0.1"] {
            let refused = read_with("peer_ip", json!(address)).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!(
                    "the server's answer cannot be true: peer_ip is {address}, which no tunnel has"
                )
            );
            let registration = read_with("server_vip", json!(address)).unwrap();
            assert_eq!(registration.server_vip, None);
        }
    }

    #[test]
    fn without_usable_name_servers_there_are_pias_own() {
        for unusable in [
            json!([]),
            json!(["nonsense"]),
            json!(["127.0.0.11", "8.8.8.8"]),
            json!([5, null]),
            json!("10.0.0.243"),
            json!({}),
            Value::Null,
        ] {
            let registration = read_with("dns_servers", unusable).unwrap();
            assert_eq!(registration.dns_servers, PIA_DNS);
        }
        let one = read_with("dns_servers", json!(["0.0.0.0", "10.0.0.241"])).unwrap();
        assert_eq!(one.dns_servers[0].to_string(), "10.0.0.241");
        assert_eq!(one.dns_servers.len(), 1);
    }

    #[test]
    fn addresses_of_the_neighbourhood_are_not_the_tunnels() {
        let attached = ["172.18.0.2/16".parse().unwrap()];
        let of = |field, address| {
            let registration = read_with(field, json!(address)).unwrap();
            registration.is_plausible(&attached, &[])
        };
        assert_eq!(of("peer_ip", "10.7.33.2"), Ok(()));
        assert!(of("peer_ip", "172.18.0.2").is_err());
        assert!(of("server_vip", "172.18.0.1").is_err());
    }

    #[test]
    fn bad_fields_are_refused() {
        assert!(matches!(
            read_with("peer_pubkey", json!("other")),
            Err(ApiErrorKind::ForeignKey)
        ));
        assert!(matches!(
            read_with("peer_pubkey", Value::Null),
            Err(ApiErrorKind::ForeignKey)
        ));
        for (field, value) in [
            ("server_key", json!("short")),
            ("server_key", json!("*\nPostUp = x")),
            ("server_port", json!(0)),
            ("server_port", json!(70000)),
            ("server_port", json!([1337])),
            ("server_port", Value::Null),
            ("peer_ip", json!("10.7.33.2/24")),
            ("peer_ip", Value::Null),
        ] {
            assert!(
                matches!(read_with(field, value), Err(ApiErrorKind::Malformed(_))),
                "{field}"
            );
        }
    }
}
