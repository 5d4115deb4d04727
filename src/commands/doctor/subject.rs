//! What is examined: the facts that several checks need.

use std::path::Path;

use super::finding::{Finding, Level};
use crate::control::kept_choice;
use crate::control::message::RequestedServer;
use crate::hooks::Stage;
use crate::settings::{Environment, ServerChoice, Settings, Warning};
use crate::status::{State, Status};
use crate::system::cancellation::CancellationToken;
use crate::system::secret::Secret;
use crate::system::{files, paths};
use crate::underlay::name_servers::{self, NameServers};
use crate::wireguard::{leftovers, show};

/// The container, or the machine, as it was found.
pub(super) struct Subject {
    pub environment: Environment,
    pub settings: Settings,
    pub warnings: Vec<Warning>,
    /// Where a start goes: a kept choice goes before what the variables say.
    pub destination: ServerChoice,
    /// A start runs something first that may assign variables.
    has_pre_up_hook: bool,
    /// The name servers of the network below the tunnel, and those in force now.
    pub underlay_dns: NameServers,
    pub dns: NameServers,
    /// Whether the tunnel's interface is there.
    pub is_tunnelled: bool,
    /// Whether the program runs.
    pub is_running: bool,
    /// Whether it has got a tunnel.
    pub is_connected: bool,
    /// Whether the kill switch holds and there is no tunnel, so that nothing can be reached from
    /// here.
    pub is_shut_off: bool,
    /// That of the tunnel's own packets.
    pub mark: u32,
    pub stop: CancellationToken,
}

impl Subject {
    /// `is_blocked` is whether the packet filter stops an ordinary datagram.
    pub(super) fn new(
        environment: &Environment,
        is_blocked: bool,
        stop: &CancellationToken,
    ) -> Self {
        let (mut settings, warnings) = Settings::of_this_network(environment);
        let text = text_of(paths::RESOLV_CONF).unwrap_or_default();
        let is_tunnelled = show::exists();
        let is_running = files::is_locked(Path::new(paths::LOCK));
        let mut is_connected = false;
        if is_running && let Ok(Some(status)) = Status::read(Path::new(paths::STATUS)) {
            settings.port_forwarding.enabled = status.port_wanted;
            is_connected = matches!(status.state, State::Connected | State::Reconnecting);
        }
        Self {
            environment: environment.clone(),
            destination: kept_choice().unwrap_or_else(|| settings.destination.clone()),
            has_pre_up_hook: settings.hooks.pre_up.is_some() || Stage::PreUp.has_script(),
            settings,
            warnings,
            underlay_dns: name_servers::parse(&text),
            dns: name_servers::in_force(&text),
            is_tunnelled,
            is_running,
            is_connected,
            is_shut_off: !is_tunnelled && is_blocked,
            mark: leftovers::mark_in_use(stop),
            stop: stop.clone(),
        }
    }

    /// What the variables lack is no failure where a pre-up hook may assign it.
    pub(super) fn unless_assigned(&self, finding: Finding) -> Finding {
        if finding.level != Level::Failure || !self.has_pre_up_hook {
            return finding;
        }
        let what = format!("{}; a pre-up hook may set it", finding.what);
        Finding::skipped(finding.check, what)
    }

    /// Everything that must not be shown, wherever it comes from.
    pub(super) fn secrets(&self) -> Vec<Secret> {
        let credentials = &self.settings.credentials;
        let mut secrets = Vec::new();
        secrets.extend(credentials.user.clone());
        secrets.extend(credentials.password.clone());
        if let ServerChoice::DedicatedIp(token) = &self.settings.destination {
            secrets.push(token.clone());
        }
        let named = [&credentials.user_file, &credentials.password_file];
        let token = Some(Path::new(paths::TOKEN));
        for file in named.into_iter().map(|file| file.as_deref()).chain([token]) {
            let text = file.and_then(text_of);
            secrets.extend(text.map(|text| Secret::new(text.trim_end_matches(['\r', '\n']))));
        }
        secrets
    }
}

/// The choice of a server that a command made, as a start takes it.
fn kept_choice() -> Option<ServerChoice> {
    let choice = match kept_choice::choice(Path::new(paths::KEPT_CHOICE))? {
        RequestedServer::Locations(text) => ServerChoice::from_locations(&text),
        RequestedServer::Server(cn) => ServerChoice::Server { cn, seen: None },
        RequestedServer::Configured => return None,
    };
    (choice != ServerChoice::Unset).then_some(choice)
}

fn text_of(file: impl AsRef<Path>) -> Option<String> {
    files::read_if_present(file.as_ref()).ok().flatten()
}
