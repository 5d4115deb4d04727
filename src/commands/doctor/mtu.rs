//! Do the tunnel's packets fit through the network below?

use std::net::{Ipv4Addr, SocketAddrV4};

use super::finding::Finding;
use super::subject::Subject;
use crate::connect::server_selection::locations;
use crate::pia::regions::{REGISTRATION_PORT, ServerList};
use crate::settings::ServerChoice;
use crate::underlay::path_mtu::{self, PathMtu};
use crate::underlay::socket::Via;
use crate::wireguard::show;

const CHECK: &str = "MTU";
/// What WireGuard adds over IPv4: headers of IP and UDP, and its own.
const WIREGUARD_OVERHEAD: u32 = 60;
/// What wg-quick leaves for it, as IPv6 needs more.
const WG_QUICK_OVERHEAD: u32 = 80;

pub(super) fn check(
    subject: &Subject,
    list: Option<&ServerList>,
    report: &mut impl FnMut(Finding),
) {
    report(match endpoint(subject, list) {
        None => Finding::skipped(CHECK, "no endpoint is known"),
        Some(_) if subject.is_shut_off => {
            Finding::skipped(CHECK, "not measured, as the kill switch is shut")
        }
        Some(endpoint) => {
            // Past a tunnel that is up; its rule for the endpoint lets this through.
            let via = if subject.is_tunnelled {
                Via::Mark(subject.mark)
            } else {
                Via::Routing
            };
            match path_mtu::measure(&via, endpoint, &subject.stop) {
                Ok(found) => judge(found, subject.settings.mtu),
                Err(error) => Finding::skipped(CHECK, format!("cannot be measured: {error}")),
            }
        }
    });
}

fn endpoint(subject: &Subject, list: Option<&ServerList>) -> Option<SocketAddrV4> {
    if subject.is_tunnelled {
        return show::peers(&subject.stop)
            .ok()?
            .first()?
            .endpoint
            .as_deref()?
            .parse()
            .ok();
    }
    Some(SocketAddrV4::new(chosen(subject, list)?, REGISTRATION_PORT))
}

fn chosen(subject: &Subject, list: Option<&ServerList>) -> Option<Ipv4Addr> {
    let list = list.into_iter().collect::<Vec<_>>();
    match &subject.settings.destination {
        ServerChoice::Manual { ip, .. } => Some(*ip),
        ServerChoice::Locations(ids) => Some(
            locations::choose(ids, &list)
                .locations
                .first()?
                .servers
                .first()?
                .ip,
        ),
        _ => None,
    }
}

fn judge(found: PathMtu, wanted: Option<u32>) -> Finding {
    let PathMtu { first, path } = found;
    let ours = wanted.unwrap_or(first.saturating_sub(WG_QUICK_OVERHEAD));
    let told = if path < first {
        format!("{path} on the way to the endpoint ({first} here)")
    } else {
        path.to_string()
    };
    if ours + WIREGUARD_OVERHEAD <= path {
        return Finding::ok(CHECK, format!("{told}; the tunnel's {ours} fits"));
    }
    Finding::warning(
        CHECK,
        format!(
            "{told}; the tunnel's {ours} does not fit: large packets are lost, so that pages hang"
        ),
        format!(
            "set MTU={}",
            path.saturating_sub(WG_QUICK_OVERHEAD).max(576)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    #[test]
    fn a_narrow_way_wants_a_smaller_mtu() {
        let whole = PathMtu {
            first: 1500,
            path: 1500,
        };
        assert_eq!(judge(whole, None).level, Level::Ok);
        assert_eq!(judge(whole, Some(1440)).level, Level::Ok);
        assert_eq!(
            judge(whole, Some(1450)).cure.as_deref(),
            Some("set MTU=1420")
        );
        let narrow = PathMtu {
            first: 1500,
            path: 1420,
        };
        assert_eq!(judge(narrow, None).cure.as_deref(), Some("set MTU=1340"));
        assert_eq!(judge(narrow, Some(1340)).level, Level::Ok);
    }
}
