//! What gluetun's own control server says, in its form: its helpers ask for that. Its paths and
//! fields are those of `internal/server` in github.com/qdm12/gluetun, as of 2026-05.

use serde_json::{Value, json};

use crate::status::{State, Status};

/// The answer to `path`; `None` where gluetun's helpers ask no such thing.
pub fn answer(path: &str, status: Option<&Status>) -> Option<Value> {
    match path {
        // The second one is that of earlier releases.
        "/v1/portforward" | "/v1/openvpn/portforwarded" => Some(ports(status)),
        "/v1/publicip/ip" => Some(public_address(status)),
        "/v1/vpn/status" | "/v1/openvpn/status" => Some(json!({ "status": state(status) })),
        _ => None,
    }
}

fn ports(status: Option<&Status>) -> Value {
    match status.and_then(Status::forwarded) {
        Some(port) => json!({ "port": port.number, "ports": [port.number] }),
        None => json!({ "port": 0, "ports": [] }),
    }
}

/// As gluetun, it has no address before it was asked for. Dashboards want all three fields; which
/// country a location is in is not known here.
fn public_address(status: Option<&Status>) -> Value {
    let exit = status.and_then(|status| status.exit);
    let location = status.and_then(|status| status.location.as_deref());
    json!({
        "public_ip": exit.map_or(String::new(), |exit| exit.ip.to_string()),
        "region": location.unwrap_or_default(),
        "country": "",
    })
}

fn state(status: Option<&Status>) -> &'static str {
    match status.map(|status| status.state) {
        Some(State::Connected) => "running",
        Some(State::Starting | State::Reconnecting) => "starting",
        Some(State::Blocked) => "crashed",
        Some(State::Stopping) => "stopping",
        Some(State::Sealed) | None => "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Port, Reporter};

    #[test]
    fn a_port_of_the_server_before_is_told_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let mut status = Reporter::new(&folder.path().join("status.json")).current();
        status.port = Some(Port {
            number: 47047,
            bound_at: 0,
            leads_to: None,
        });
        let told =
            |status: &Status| answer("/v1/portforward", Some(status)).unwrap()["port"].clone();
        assert_eq!(told(&status), 47047);
        status.port_unbound = true;
        assert_eq!(told(&status), 0);
    }
}
