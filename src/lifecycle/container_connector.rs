//! The connector as the container has it: past the tunnel, through the kill switch.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::connect::account::Account;
use crate::connect::api_hosts::ApiHosts;
use crate::connect::connector::Connector;
use crate::connect::gate::Gate;
use crate::connect::places::Places;
use crate::connect::server_selection::{ListFiles, Selection};
use crate::container::Container;
use crate::firewall::kill_switch::KillSwitch;
use crate::system::paths;
use crate::underlay::name_servers::NameServers;
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::Via;

/// What connectors of this life are made with, besides the settings.
#[derive(Clone)]
pub struct ContainerConnector {
    gate: Gate,
    /// Asks the name servers of the network below the tunnel, past the tunnel.
    resolver: Resolver,
    via: Via,
    places: Arc<Places>,
}

impl ContainerConnector {
    /// For requests through this kill switch, with this mark. What `/etc/hosts` and these name
    /// servers are, is settled here for the whole life.
    pub fn new(kill_switch: KillSwitch, name_servers: NameServers, mark: u32) -> Self {
        let via = Via::Mark(mark);
        Self {
            gate: Gate::of(kill_switch),
            resolver: Resolver::new(name_servers, via.clone()),
            via,
            places: Arc::new(Places::shared_by(Path::new(paths::SERVER_LOCKS))),
        }
    }

    /// A connector that has learnt nothing yet.
    pub fn connector(&self, container: &Container) -> Connector {
        let settings = &container.settings;
        let hosts = Arc::new(ApiHosts::new(
            settings.meta.clone(),
            self.resolver.clone(),
            self.via.clone(),
            settings.pia_ca_file.clone(),
            self.gate.clone(),
        ));
        let account = Account::new(
            Arc::clone(&hosts),
            settings.retry,
            settings.credentials.clone(),
            Path::new(paths::TOKEN),
        );
        let selection = Selection {
            choice: settings.destination.clone(),
            stable_ip: settings.stable_ip,
            port_forwarding: settings.port_forwarding.enabled,
            retry: settings.retry,
            files: ListFiles {
                key: settings.server_list_key_file.clone(),
                stored: Some(PathBuf::from(paths::SERVER_LIST)),
            },
            local_network: settings.local_ranges(),
            shows_progress: false,
        };
        Connector::new(hosts, account, selection).beside(Arc::clone(&self.places))
    }
}
