//! An anchor: a container that does nothing but own a network, closed from its first moment. VPN
//! and clients join it, and can come and go.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::lock;
use super::surroundings::check_capabilities;
use crate::failure::{Failure, FailureKind, Retry};
use crate::firewall::seal::Seal;
use crate::firewall::{self, Backend, anchored};
use crate::settings::{Environment, Settings};
use crate::status::{Reporter, State};
use crate::system::backoff::Backoff;
use crate::system::cancellation::CancellationToken;
use crate::system::command::advice_on_spawning;
use crate::system::{files, paths, signals};
use crate::underlay::changes::Changes;
use crate::wireguard::show;

const NETWORK_IN_USE: &str = "wireguard-pia runs in this network already, and its rules are left \
    alone: the anchor is the first in a network, and the others join it";

/// Closes the network, and holds it until a stop signal. It stays closed afterwards, as long as it
/// is there.
pub fn seal(environment: Environment, build: &str) -> ExitCode {
    match hold(environment, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            log::error!("Fatal error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn hold(environment: Environment, build: &str) -> Result<(), Failure> {
    if lock::is_held() {
        return Err(local(lock::HELD));
    }
    let stop = CancellationToken::new();
    // A SIGHUP asks for a new server, and there is none.
    signals::watch(&stop, || (), || ()).map_err(|error| {
        let advice = advice_on_spawning(&error);
        local(format!("signals cannot be handled: {error}{advice}"))
    })?;
    log::info!("wireguard-pia {build}");
    check_capabilities("the network cannot be closed")?;
    let settings = Settings::from_environment(&environment).0;
    let backend = settings.nf_tables.map(Backend::from_nf_tables);
    // Given back below: it is for the life with a tunnel, which this is to be told from.
    let claim = lock::claim_network();
    if claim.is_none() {
        if lock::is_claim_roots() && (show::exists() || firewall::has_our_chains()) {
            return Err(local(NETWORK_IN_USE));
        }
        log::warn!("{}", lock::NAME_TAKEN);
    }
    // Held until the end, and from before the claim is given back.
    let _sign = anchored::announce()
        .inspect_err(|error| log::warn!("a VPN with FIREWALL=0 will open this network: {error}"));
    // Before the network is closed, so that no interface is missed.
    let changes = Changes::subscribe(false);
    let seal = Seal::load(backend, &stop).inspect_err(|_| firewall::cut_off())?;
    drop(claim);
    log::info!("Network closed: nothing leaves it until wireguard-pia connects in it");
    let _lock = lock::take()?;
    let reporter = Reporter::new(Path::new(paths::STATUS));
    reporter.enter(State::Sealed, None);
    reporter.update(|status| {
        status.not_blocked = seal.not_blocked().map(str::to_owned);
        status.frames_pass = seal.frames_pass();
    });
    match changes {
        Ok(changes) => follow(&changes, seal, &stop),
        Err(error) => log::warn!("{LATER}: {error}"),
    }
    // Where changes cannot be waited for, a stop can.
    while stop.pause(Duration::from_secs(3600)).is_ok() {}
    files::remove_if_present(Path::new(paths::STATUS))?;
    log::info!("Stopped; the network stays closed");
    Ok(())
}

const LATER: &str = "frames by networks that are attached later pass";

/// Between two tries to close an interface.
const SHUT_BACKOFF: Backoff = Backoff {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(60),
};

/// Until a stop.
fn follow(changes: &Changes, mut seal: Seal, stop: &CancellationToken) {
    let mut failures: u32 = 0;
    while !stop.is_cancelled() {
        if let Err(why) = seal.shut_new_interfaces() {
            if failures == 0 {
                log::warn!("firewall: frames by a new interface pass: {why}; trying again");
            }
            failures = failures.saturating_add(1);
            // The loop ends with a stop.
            let _ = stop.pause(SHUT_BACKOFF.pause(failures, &mut fastrand::Rng::new()));
            continue;
        }
        if failures > 0 {
            log::info!("Firewall: frames by the new interface pass no longer");
        }
        failures = 0;
        if let Err(error) = changes.wait(stop) {
            log::warn!("{LATER}: {error}");
            return;
        }
    }
}

fn local(text: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Local, Retry::Never, text)
}
