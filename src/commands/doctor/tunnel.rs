//! A tunnel that is up: does it carry, is the port there, does anything get out beside it?

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::finding::Finding;
use super::leaks;
use super::subject::Subject;
use crate::firewall::arrivals;
use crate::port_forward::listening;
use crate::status::{State, Status};
use crate::system::paths;
use crate::wireguard::peers::{self, Peer};

/// WireGuard makes a new handshake after two minutes if there is anything to send, and a session
/// ends after three.
const SESSION_TIMEOUT: Duration = Duration::from_secs(180);

pub(super) fn check(subject: &Subject, report: &mut impl FnMut(Finding)) {
    if !subject.is_tunnelled {
        return;
    }
    report(match peers::list(&subject.stop) {
        Ok(peers) => judge_handshake(peers.first(), SystemTime::now()),
        Err(error) => Finding::failure(
            "handshake",
            error.to_string(),
            "wg0 is no WireGuard interface of ours: restart",
        ),
    });
    let status = Status::read(Path::new(paths::STATUS)).ok().flatten();
    if subject.settings.port_forwarding.enabled {
        let port = status.as_ref().and_then(|status| status.port);
        let complaint = port
            .and_then(|port| port.leads_to)
            .and_then(listening::complaint);
        let count = |number| arrivals::arrivals(number, &subject.stop).ok().flatten();
        let arrived = port.and_then(|port| count(port.number));
        report(judge_port(status.as_ref(), complaint, arrived));
    }
    report(leaks::check(subject));
}

fn judge_handshake(peer: Option<&Peer>, now: SystemTime) -> Finding {
    const CHECK: &str = "handshake";
    const BLOCKED: &str = "see that the host and its network let UDP to the endpoint out and in; \
                           try another location; restart, or `wireguard-pia reconnect`, \
                           registers anew";
    let Some(peer) = peer else {
        return Finding::failure(CHECK, "wg0 has no peer", "restart the container");
    };
    let endpoint = peer.endpoint.as_deref().unwrap_or("an unknown endpoint");
    let Some(last) = peer.last_handshake else {
        return Finding::failure(
            CHECK,
            format!("there was none with {endpoint}: nothing comes back from it"),
            BLOCKED,
        );
    };
    let age = now.duration_since(last).unwrap_or_default();
    let told = format!("{} s ago with {endpoint}", age.as_secs());
    if age > SESSION_TIMEOUT {
        // An idle tunnel needs none, but the checks before this one have just sent something.
        return Finding::failure(
            CHECK,
            format!("{told}, although there is traffic: the server is gone"),
            BLOCKED,
        );
    }
    Finding::ok(CHECK, told)
}

/// `arrived` is how much has come in by the port since the rules were loaded last, where that can
/// be read. That nothing has come is no fault: nobody may have tried.
fn judge_port(status: Option<&Status>, complaint: Option<String>, arrived: Option<u64>) -> Finding {
    const CHECK: &str = "port";
    let Some(status) = status else {
        return Finding::skipped(CHECK, "the program does not run, so nobody keeps one");
    };
    if let (Some(port), true) = (status.port, status.port_unbound) {
        let what = format!("{} is being bound at the new server", port.number);
        return Finding::failure(CHECK, what, "wait a minute; then see the log");
    }
    if let Some(port) = status.port {
        let well = format!("{} is forwarded", port.number);
        return match complaint {
            Some(complaint) => Finding::warning(
                CHECK,
                format!("{well}, but {complaint}"),
                listening::cure(port.number, port.leads_to),
            ),
            None => Finding::ok(
                CHECK,
                match arrived {
                    None => well,
                    Some(0) => format!("{well}; nothing came in by it since the rules were loaded"),
                    Some(count) => {
                        format!("{well}; {count} came in by it since the rules were loaded")
                    }
                },
            ),
        };
    }
    let why = status
        .port_error
        .as_deref()
        .or(status.reason.as_deref())
        .unwrap_or("no reason is known yet");
    let state = if status.state == State::Connected {
        String::new()
    } else {
        format!(" ({})", status.state)
    };
    Finding::failure(
        CHECK,
        format!("none is forwarded{state}: {why}"),
        "wait a minute; then choose a location from `wireguard-pia locations --port-forward`, and \
         see the log",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn an_old_handshake_is_no_good_sign() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let peer = |ago: Option<u64>| Peer {
            endpoint: Some("192.0.2.7:1337".into()),
            last_handshake: ago.map(|ago| now - Duration::from_secs(ago)),
            received: 0,
            sent: 0,
        };
        assert_eq!(
            judge_handshake(Some(&peer(Some(20))), now).what,
            "20 s ago with 192.0.2.7:1337"
        );
        assert_eq!(
            judge_handshake(Some(&peer(Some(200))), now).level,
            Level::Failure
        );
        assert_eq!(
            judge_handshake(Some(&peer(None)), now).level,
            Level::Failure
        );
        assert_eq!(judge_handshake(None, now).level, Level::Failure);
    }
}
