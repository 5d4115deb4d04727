//! A fresh account token and server list, had through the tunnel while all is well, so that a
//! reconnect has to ask for neither.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::task::Task;
use crate::connect::account::Account;
use crate::connect::api_hosts::{ApiHosts, Service};
use crate::connect::gate::Gate;
use crate::container::Container;
use crate::failure::Failure;
use crate::pia::account::{self, ListVersion, SignedList};
use crate::pia::regions::ListKey;
use crate::pia::retry::RetryPolicy;
use crate::system::cancellation::CancellationToken;
use crate::system::paths;
use crate::tunnel::Tunnel;
use crate::underlay::name_servers::{NameServer, NameServers};
use crate::underlay::resolver::Resolver;
use crate::underlay::socket::Via;

/// Between two renewals, unless the program is told otherwise. Tokens live for a day.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(6 * 3600);
/// By how much it may be shorter, so that not all containers ask at the same time.
const JITTER: f64 = 0.2;
/// For a list that can be done without.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// The same where somebody waits for it.
const LIST_TIMEOUT_IF_AWAITED: Duration = Duration::from_secs(5);

/// Until the next renewal.
fn pause(interval: Duration, rng: &mut fastrand::Rng) -> Duration {
    interval.mul_f64(1.0 - JITTER * rng.f64())
}

/// What is to be had anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Token and list, for later; with the newer list, where that is in use.
    All { with_newer: bool },
    /// Lists of both versions: somebody asks for what those at hand do not have.
    Lists,
}

/// Lists by their versions, in the order in which they were fetched.
pub type FetchedLists = Vec<(ListVersion, SignedList)>;

/// What a renewal needs.
pub(super) struct Renewal {
    /// Reached by the tunnel's interface alone; the kill switch lets that pass.
    hosts: ApiHosts,
    account: Account,
    list_key: PathBuf,
    retry: RetryPolicy,
    needs_list: bool,
}

impl Renewal {
    /// By this tunnel. Names are asked of the name servers inside it.
    pub(super) fn new(tunnel: &Tunnel, account: Account, container: &Container) -> Self {
        let via = Via::Interface(paths::INTERFACE.to_owned());
        let inside = tunnel.joined.registration.dns_servers.iter();
        let servers = NameServers {
            servers: inside
                .map(|one| NameServer::Direct((*one).into()))
                .collect(),
            ..NameServers::default()
        };
        let settings = &container.settings;
        Self {
            hosts: ApiHosts::new(
                settings.meta.clone(),
                Resolver::new(servers, via.clone()),
                via,
                settings.pia_ca_file.clone(),
                Gate::Open,
            ),
            account,
            list_key: settings.server_list_key_file.clone(),
            retry: settings.retry,
            needs_list: settings.destination.is_from_list(),
        }
    }

    /// Asks once for each; what cannot be had is done without, until the next time.
    pub(super) fn run(&self, wanted: Wanted, stop: &CancellationToken) -> FetchedLists {
        let versions: &[ListVersion] = match wanted {
            Wanted::All { .. } if !self.needs_list => &[],
            Wanted::All { with_newer: false } => &[ListVersion::V6],
            Wanted::All { with_newer: true } | Wanted::Lists => &[ListVersion::V7, ListVersion::V6],
        };
        let timeout = match wanted {
            Wanted::All { .. } => LIST_TIMEOUT,
            Wanted::Lists => LIST_TIMEOUT_IF_AWAITED,
        };
        if wanted != Wanted::Lists {
            match self.account.renew_early(&self.hosts, stop) {
                Ok(()) => log::debug!("The account token is renewed"),
                Err(failure) => log::debug!("renewing the account token: {failure}"),
            }
        }
        let mut lists = FetchedLists::new();
        for version in versions {
            match self.list(*version, timeout, stop) {
                Ok(list) => lists.push((*version, list)),
                Err(failure) => log::debug!("renewing the server list: {failure}"),
            }
        }
        lists
    }

    fn list(
        &self,
        version: ListVersion,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<SignedList, Failure> {
        let key = ListKey::read(&self.list_key)?;
        let host = self.hosts.service(Service::ServerList, stop)?;
        let retry = self.retry.briefly(timeout);
        Ok(account::server_list(
            |_| host.clone(),
            version,
            &key,
            &retry,
            stop,
        )?)
    }
}

/// When token and list are renewed, and the task that does it.
pub(super) struct RenewalSchedule {
    interval: Duration,
    next: Option<Instant>,
    pub task: Option<Task<()>>,
    /// Of the latest task.
    pub number: u32,
}

impl RenewalSchedule {
    pub(super) fn new(interval: Duration) -> Self {
        let mut schedule = Self {
            interval,
            next: None,
            task: None,
            number: 0,
        };
        schedule.plan_next();
        schedule
    }

    /// The next one is about an interval from now.
    pub(super) fn plan_next(&mut self) {
        let pause = pause(self.interval, &mut fastrand::Rng::new());
        self.next = Instant::now().checked_add(pause);
    }

    /// When the next one is.
    pub(super) fn due(&self) -> Option<Instant> {
        self.next
    }

    /// Gives up the one that is under way.
    pub(super) fn end(&mut self) {
        if let Some(task) = self.task.take() {
            task.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_within_the_interval_and_not_always_at_the_same_moment() {
        let mut rng = fastrand::Rng::with_seed(1);
        let pauses: Vec<Duration> = (0..100)
            .map(|_| pause(RENEWAL_INTERVAL, &mut rng))
            .collect();
        let (shortest, longest) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*longest <= RENEWAL_INTERVAL, "{longest:?}");
        assert!(*shortest >= RENEWAL_INTERVAL.mul_f64(0.8), "{shortest:?}");
        assert!(*longest - *shortest > Duration::from_secs(1800));
    }
}
