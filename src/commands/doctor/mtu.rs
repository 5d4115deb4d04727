//! Do the tunnel's packets fit through the network below?

use std::net::{Ipv4Addr, SocketAddrV4};

use super::finding::Finding;
use super::subject::Subject;
use crate::connect::server_selection::locations;
use crate::pia::regions::{REGISTRATION_PORT, ServerList};
use crate::settings::ServerChoice;
use crate::system::paths;
use crate::underlay::interfaces;
use crate::underlay::path_mtu::{self, PathMtu};
use crate::underlay::socket::Via;
use crate::wireguard::overhead::{self, OVER_IPV4, USUAL_LINK};
use crate::wireguard::peers;

const CHECK: &str = "MTU";

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
            match path_mtu::measure(&via, endpoint, USUAL_LINK, &subject.stop) {
                Ok(found) => judge(found, subject.settings.mtu.or_else(of_tunnel)),
                Err(error) => Finding::skipped(CHECK, format!("cannot be measured: {error}")),
            }
        }
    });
}

fn endpoint(subject: &Subject, list: Option<&ServerList>) -> Option<SocketAddrV4> {
    if subject.is_tunnelled {
        return peers::list(&subject.stop)
            .ok()?
            .first()?
            .endpoint
            .as_deref()?
            .parse()
            .ok();
    }
    Some(SocketAddrV4::new(chosen(subject, list)?, REGISTRATION_PORT))
}

/// That of a tunnel that is up.
fn of_tunnel() -> Option<u32> {
    interfaces::mtu(paths::INTERFACE)
}

fn chosen(subject: &Subject, list: Option<&ServerList>) -> Option<Ipv4Addr> {
    let list = list.into_iter().collect::<Vec<_>>();
    match &subject.destination {
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

/// Without an MTU that is set, a start takes the one that fits.
fn judge(found: PathMtu, set: Option<u32>) -> Finding {
    let PathMtu { first, path } = found;
    let fitting = overhead::fitting(path);
    let ours = set.unwrap_or(fitting);
    let told = if path < first {
        format!("{path} on the way to the endpoint ({first} here)")
    } else {
        path.to_string()
    };
    if ours + OVER_IPV4 <= path {
        return Finding::ok(CHECK, format!("{told}; the tunnel's {ours} fits"));
    }
    Finding::warning(
        CHECK,
        format!(
            "{told}; the tunnel's {ours} does not fit: large packets are lost, so that pages hang"
        ),
        format!("set MTU={fitting}"),
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
        let too_large = judge(narrow, Some(1420));
        assert_eq!(too_large.cure.as_deref(), Some("set MTU=1340"));
        assert_eq!(judge(narrow, Some(1340)).level, Level::Ok);
        assert_eq!(judge(narrow, None).level, Level::Ok);
    }
}
