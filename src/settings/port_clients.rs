//! `PORT_CLIENTS` and the variables of each client.

use super::variables::{Variables, entry};
use super::warning::Warning;
use crate::port_clients::{
    ClientOptions, ClientTarget, HttpHook, Login, PLACEHOLDER, PortClientOptions, SecretSource,
};
use crate::system::secret::Secret;

/// The names that `PORT_CLIENTS` knows.
const NAMES: [&str; 6] = [
    "qbittorrent",
    "transmission",
    "deluge",
    "rtorrent",
    "slskd",
    "http",
];
/// How unlike a name may be that is thought to be meant.
const MAX_DISTANCE: usize = 3;

/// The clients that these variables ask for.
pub(super) fn of(variables: &Variables, warnings: &mut Vec<Warning>) -> Option<PortClientOptions> {
    let mut targets: Vec<ClientTarget> = Vec::new();
    for name in &variables.port_clients {
        let is_named = |target: &ClientTarget| target.name().eq_ignore_ascii_case(name);
        if targets.iter().any(is_named) {
            continue;
        }
        match target(name, variables) {
            Ok(target) => {
                warnings.extend(warning_of(&target));
                targets.push(target);
            }
            Err(problem) => {
                warnings.push(entry::port_clients.warning(problem, "it is left out"));
            }
        }
    }
    if targets.is_empty() {
        return None;
    }
    if !variables.port_forwarding {
        let problem = format!("{} is not 1", entry::port_forwarding.name);
        warnings.push(entry::port_clients.warning(problem, "it has no effect"));
        return None;
    }
    if let Some(redirect) = variables.port_redirect {
        let problem = format!(
            "{} leads connections to port {}",
            entry::port_redirect.name,
            redirect.0
        );
        let consequence = "clients are told the forwarded port all the same, where nothing comes";
        warnings.push(entry::port_clients.warning(problem, consequence));
    }
    let with_login = |target: ClientTarget| ClientOptions {
        login: login(&target, variables),
        target,
    };
    Some(PortClientOptions {
        clients: targets.into_iter().map(with_login).collect(),
        interval: variables.port_client_interval.0,
    })
}

/// The client of this name, or what is wrong with it.
fn target(name: &str, variables: &Variables) -> Result<ClientTarget, String> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "qbittorrent" => ClientTarget::Qbittorrent(variables.qbittorrent_url.clone()),
        "transmission" => ClientTarget::Transmission(variables.transmission_url.clone()),
        "deluge" => ClientTarget::Deluge(variables.deluge_url.clone()),
        "rtorrent" => ClientTarget::Rtorrent(variables.rtorrent_url.clone()),
        "slskd" => ClientTarget::Slskd(variables.slskd_url.clone()),
        "http" => ClientTarget::Http(HttpHook {
            method: variables.port_http_method,
            url: match &variables.port_http_url {
                Some(url) => url.0.clone(),
                None => return Err(format!("http needs {}", entry::port_http_url.name)),
            },
            body: variables.port_http_body.0.clone(),
            media_type: variables.port_http_type.0.clone(),
            check_url: variables.port_http_check_url.clone().map(|url| url.0),
        }),
        unknown => return Err(unknown_client(unknown)),
    })
}

fn warning_of(target: &ClientTarget) -> Option<Warning> {
    let ClientTarget::Http(hook) = target else {
        return None;
    };
    let problem = format!(
        "neither it nor {} has {PLACEHOLDER} in it",
        entry::port_http_body.name
    );
    let consequence = "requests are sent that do not tell the port";
    (!hook.names_port()).then(|| entry::port_http_url.warning(problem, consequence))
}

fn unknown_client(name: &str) -> String {
    let distance = |known: &&str| strsim::osa_distance(known, name);
    let nearest = NAMES.iter().copied().min_by_key(distance);
    let nearest = nearest.filter(|known| distance(known) <= MAX_DISTANCE);
    let guess = nearest.map_or_else(String::new, |known| format!(" (did you mean {known}?)"));
    let shown = name.escape_debug();
    format!(
        "there is no client {shown}{guess}, only {}",
        NAMES.join(", ")
    )
}

fn login(target: &ClientTarget, variables: &Variables) -> Login {
    let source = |value: &Option<Secret>, file: &Option<std::path::PathBuf>| SecretSource {
        file: file.clone(),
        value: value.clone(),
    };
    let none = SecretSource::default();
    let all = variables;
    let (user, password) = match target {
        ClientTarget::Qbittorrent(_) => (
            source(&all.qbittorrent_user, &all.qbittorrent_user_file),
            source(&all.qbittorrent_pass, &all.qbittorrent_pass_file),
        ),
        ClientTarget::Transmission(_) => (
            source(&all.transmission_user, &all.transmission_user_file),
            source(&all.transmission_pass, &all.transmission_pass_file),
        ),
        ClientTarget::Deluge(_) => (none, source(&all.deluge_pass, &all.deluge_pass_file)),
        ClientTarget::Rtorrent(_) => (
            source(&all.rtorrent_user, &all.rtorrent_user_file),
            source(&all.rtorrent_pass, &all.rtorrent_pass_file),
        ),
        ClientTarget::Slskd(_) => (none, source(&all.slskd_api_key, &all.slskd_api_key_file)),
        ClientTarget::Http(_) => (
            none,
            source(
                &all.port_http_header.clone().map(|header| header.0),
                &all.port_http_header_file,
            ),
        ),
    };
    Login { user, password }
}
