//! Can PIA be reached, and is there what the settings ask for?

use std::time::{Duration, Instant};

use super::finding::Finding;
use super::subject::Subject;
use crate::commands::api_client::ApiClient;
use crate::connect::api_hosts::Service;
use crate::connect::credentials;
use crate::connect::server_selection::locations::{self, Choice};
use crate::pia::account;
use crate::pia::host::Host;
use crate::pia::regions::{Server, ServerList};
use crate::pia::retry::RetryPolicy;
use crate::settings::ServerChoice;
use crate::system::cancellation::CancellationToken;
use crate::system::parallel;
use crate::system::paths;
use crate::underlay::socket::Via;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Servers of the chosen locations that are tried.
const MAX_SERVERS: usize = 4;
const ACCOUNT: &str = "account API";
const LIST: &str = "server list";
const LOCATION: &str = "location";
const SERVERS: &str = "servers";
const LOGIN: &str = "login";

/// Returns the server list, for those that come after.
pub(super) fn check(
    subject: &Subject,
    login: bool,
    report: &mut impl FnMut(Finding),
) -> Option<ServerList> {
    if subject.is_shut_off {
        report(Finding::skipped(
            ACCOUNT,
            "the kill switch is shut and there is no tunnel, so nothing can be reached from here: \
             run doctor in a fresh \
             container with the same options (docker run --rm … IMAGE wireguard-pia doctor)",
        ));
        return None;
    }
    let settings = &subject.settings;
    let client = ApiClient::new(
        &subject.environment,
        settings.meta.clone(),
        settings.pia_ca_file.clone(),
        Via::Routing,
    );
    let mut client = match client {
        Ok(client) => client,
        Err(problem) => {
            report(Finding::failure(ACCOUNT, problem.to_string(), "see above"));
            return None;
        }
    };
    client.retry = RetryPolicy::once(REQUEST_TIMEOUT);
    report(account(&client, subject));
    let needs_list = !matches!(
        subject.destination,
        ServerChoice::Manual { .. } | ServerChoice::DedicatedIp(_)
    );
    let list = if needs_list {
        list(&client, subject, report)
    } else {
        None
    };
    if let Some(servers) = chosen(subject, list.as_ref(), report) {
        report(judge_servers(&try_all(&client, &servers, &subject.stop)));
    }
    if login {
        report(log_in(&client, subject));
    }
    list
}

fn account(client: &ApiClient, subject: &Subject) -> Finding {
    let started = Instant::now();
    let whom = subject.settings.meta.as_ref().map_or_else(
        || "PIA".to_owned(),
        |meta| format!("meta server {}", meta.cn),
    );
    let host = match client.hosts.service(Service::Account, &subject.stop) {
        Ok(host) => host,
        Err(failure) => return Finding::failure(ACCOUNT, failure.text, advice(subject)),
    };
    match host.ping(REQUEST_TIMEOUT, &subject.stop) {
        Ok(()) => Finding::ok(
            ACCOUNT,
            format!("{whom} answers ({} ms)", started.elapsed().as_millis()),
        ),
        Err(error) => {
            let (what, cure) = error.what_and_cure();
            Finding::failure(ACCOUNT, what, cure.unwrap_or_else(|| advice(subject)))
        }
    }
}

fn advice(subject: &Subject) -> &'static str {
    if subject.settings.meta.is_some() {
        "name another meta server in META_IP and META_CN, or unset them; see too that the port \
         (META_PORT) is right"
    } else {
        "check the host's own connection and firewall; where PIA's web hosts are blocked, set \
         META_IP and META_CN"
    }
}

fn list(
    client: &ApiClient,
    subject: &Subject,
    report: &mut impl FnMut(Finding),
) -> Option<ServerList> {
    let mut selection = client.server_selection(&subject.settings.server_list_key_file);
    match selection.server_list(&subject.stop) {
        Ok(list) => {
            let count = list
                .locations
                .iter()
                .filter(|location| locations::is_usable(location))
                .count();
            report(Finding::ok(
                LIST,
                format!("verified; {count} locations have WireGuard servers"),
            ));
            Some(list.clone())
        }
        Err(problem) if std::path::Path::new(paths::SERVER_LIST).exists() => {
            report(Finding::warning(
                LIST,
                format!("{problem}; the stored list will be used"),
                advice(subject),
            ));
            None
        }
        Err(problem) => {
            let (what, cure) = problem.what_and_cure();
            let cure = cure.unwrap_or_else(|| advice(subject));
            report(Finding::failure(LIST, what, cure));
            None
        }
    }
}

/// The servers that the settings lead to, a few of them, with their port.
fn chosen(
    subject: &Subject,
    list: Option<&ServerList>,
    report: &mut impl FnMut(Finding),
) -> Option<Vec<(Server, u16)>> {
    let wants_port = subject.settings.port_forwarding.enabled;
    match (&subject.destination, list) {
        (ServerChoice::Manual { ip, cn, port }, _) => Some(vec![(
            Server {
                cn: cn.clone(),
                ip: *ip,
            },
            *port,
        )]),
        (ServerChoice::Locations(ids), Some(list)) => {
            let choice = locations::choose(ids, &[list]);
            let finding = judge_locations(&choice, wants_port, subject.settings.stable_ip);
            report(subject.unless_assigned(finding));
            let servers = choice
                .locations
                .iter()
                .flat_map(|location| &location.servers);
            let servers = servers
                .filter(|server| !subject.settings.stable_ip || locations::has_stable_ip(server));
            let found: Vec<_> = servers
                .take(MAX_SERVERS)
                .map(|server| (server.clone(), list.registration_port))
                .collect();
            (!found.is_empty()).then_some(found)
        }
        _ => None,
    }
}

fn judge_locations(choice: &Choice, wants_port: bool, wants_stable_ip: bool) -> Finding {
    let problems: Vec<String> = choice.problems.iter().map(ToString::to_string).collect();
    let problems = problems.join("; ");
    let ids: Vec<&str> = choice
        .locations
        .iter()
        .map(|location| location.id.as_str())
        .collect();
    let cure = "`wireguard-pia locations` lists what there is";
    if ids.is_empty() {
        return Finding::failure(LOCATION, problems, cure);
    }
    if !problems.is_empty() {
        return Finding::warning(
            LOCATION,
            format!("{problems}; {} can be used", ids.join(", ")),
            cure,
        );
    }
    let without: Vec<&str> = choice
        .locations
        .iter()
        .filter(|location| !location.port_forward)
        .map(|location| location.id.as_str())
        .collect();
    if wants_port && !without.is_empty() {
        return Finding::warning(
            LOCATION,
            format!(
                "PORT_FORWARDING=1, but no ports can be forwarded in {}",
                without.join(", ")
            ),
            "choose from `wireguard-pia locations --port-forward`",
        );
    }
    let has_stable = |servers: &[Server]| servers.iter().any(locations::has_stable_ip);
    if wants_stable_ip
        && !choice
            .locations
            .iter()
            .any(|location| has_stable(&location.servers))
    {
        return Finding::warning(
            LOCATION,
            "STABLE_IP=1, but today's list names no server with a stable address there",
            "name more locations in LOC, or unset STABLE_IP",
        );
    }
    Finding::ok(LOCATION, format!("{} can be used", ids.join(", ")))
}

/// Each server's answer, or why there was none; all at the same time.
fn try_all(
    client: &ApiClient,
    servers: &[(Server, u16)],
    stop: &CancellationToken,
) -> Vec<(String, Result<(), String>)> {
    let ping = |server: &Server, port| {
        let host: Host = client
            .hosts
            .server(server, port)
            .map_err(|failure| failure.text)?;
        let answer = host.ping(REQUEST_TIMEOUT, stop);
        answer.map_err(|error| error.kind.to_string())
    };
    let servers: Vec<&(Server, u16)> = servers.iter().collect();
    parallel::map(&servers, |(server, port)| {
        let name = format!("{} ({})", server.cn, server.ip);
        (name, ping(server, *port))
    })
}

fn judge_servers(tried: &[(String, Result<(), String>)]) -> Finding {
    let bad: Vec<String> = tried
        .iter()
        .filter_map(|(name, answer)| Some(format!("{name}: {}", answer.as_ref().err()?)))
        .collect();
    let good = tried.len() - bad.len();
    match (good, bad.len()) {
        (_, 0) => Finding::ok(
            SERVERS,
            format!("{good} tried, all answer at their registration port"),
        ),
        (0, _) => Finding::failure(
            SERVERS,
            format!("none answers: {}", bad.join("; ")),
            "try again later (each list names others), name more locations in LOC, and see that \
             the host's firewall lets \
             TCP port 1337 out",
        ),
        (_, _) => Finding::warning(
            SERVERS,
            format!("{good} of {} answer; {}", tried.len(), bad.join("; ")),
            "nothing, as others are tried; if it stays so, name more locations in LOC",
        ),
    }
}

/// Once: too many attempts lock the account.
fn log_in(client: &ApiClient, subject: &Subject) -> Finding {
    let credentials = match credentials::read(&subject.settings.credentials) {
        Ok(credentials) => credentials,
        Err(missing) => {
            let missing = credentials::in_words(&missing);
            return Finding::skipped(LOGIN, format!("{missing} missing"));
        }
    };
    let host = match client.hosts.service(Service::Account, &subject.stop) {
        Ok(host) => host,
        Err(failure) => return Finding::failure(LOGIN, failure.text, advice(subject)),
    };
    match account::log_in(|_| host.clone(), &credentials, &client.retry, &subject.stop) {
        Ok(_) => Finding::ok(LOGIN, "PIA takes user name and password"),
        Err(error) => {
            let (what, cure) = error.what_and_cure();
            let otherwise = match error.may_be_refused_credentials() {
                true => {
                    "try them at PIA's web site; user names are a p and seven digits, and compose \
                     needs `$$` for each `$`"
                }
                false => advice(subject),
            };
            Finding::failure(LOGIN, what, cure.unwrap_or(otherwise))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;
    use crate::pia::regions::Location;

    fn choice(ids: &[&str]) -> Choice {
        let location = |id: &str, cn: &str, port_forward| Location {
            id: id.into(),
            name: id.into(),
            country: "XX".into(),
            port_forward,
            geo: false,
            offline: false,
            servers: vec![Server::new(cn, "192.0.2.1").unwrap()],
        };
        let locations = vec![
            location("swiss", "zurich406", true),
            location("us_chicago", "Server-1-1a", false),
        ];
        locations::choose(
            ids,
            &[&ServerList {
                registration_port: 1337,
                locations,
            }],
        )
    }

    #[test]
    fn locations_must_be_there_and_do_what_is_wanted() {
        let level = |ids: &[&str], port, stable| judge_locations(&choice(ids), port, stable).level;
        assert_eq!(level(&["swiss"], true, true), Level::Ok);
        assert_eq!(level(&["swis"], false, false), Level::Failure);
        assert_eq!(level(&["swiss", "x"], false, false), Level::Warning);
        assert_eq!(level(&["us_chicago"], true, false), Level::Warning);
        assert_eq!(level(&["us_chicago"], false, true), Level::Warning);
        assert!(
            judge_locations(&choice(&["swis"]), false, false)
                .what
                .contains("did you mean swiss")
        );
    }

    #[test]
    fn some_server_must_answer() {
        let (good, bad) = (
            ("a".to_owned(), Ok(())),
            ("b".to_owned(), Err("refused".to_owned())),
        );
        assert_eq!(judge_servers(std::slice::from_ref(&good)).level, Level::Ok);
        assert_eq!(judge_servers(&[good, bad.clone()]).level, Level::Warning);
        assert_eq!(judge_servers(&[bad]).level, Level::Failure);
    }
}
