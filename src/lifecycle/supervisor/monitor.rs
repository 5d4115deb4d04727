//! `RECONNECT=1`: probes the endpoint until it no longer responds.

use std::sync::mpsc::Sender;
use std::time::Duration;

use super::Event;
use super::vigilance::{Counters, Evidence, NextProbe, Probed, Vigilance};
use crate::settings::Monitor;
use crate::system::cancellation::CancellationToken;
use crate::system::command::CommandError;
use crate::underlay::ping::{Prober, Unanswered};
use crate::wireguard::show;

/// Probes at once and then as `monitor` says; reports the endpoint once, and ends.
pub(super) fn run(
    prober: &Prober,
    monitor: &Monitor,
    timeout: Duration,
    events: &Sender<Event>,
    stop: &CancellationToken,
) {
    let mut vigilance = Vigilance::new(monitor);
    loop {
        let before = counters(stop);
        let (probed, why) = match prober.any_answers(timeout, stop) {
            Ok(target) => {
                log::debug!("{target} answers through the tunnel");
                (Probed::Answered, String::new())
            }
            Err(Unanswered::Cancelled(_)) => return,
            Err(silent) => (
                Probed::Silent(evidence(before, counters(stop))),
                silent.to_string(),
            ),
        };
        let next = vigilance.judge(probed);
        if let Probed::Silent(_) = probed {
            log::warn!(
                "Probe {} of {} failed: {why}",
                vigilance.failures(),
                monitor.retries
            );
        }
        match next {
            NextProbe::ProbeAfter(pause) if stop.pause(pause).is_ok() => {}
            NextProbe::ProbeAfter(_) => return,
            NextProbe::Unresponsive => {
                // The loop may be gone already.
                let _ = events.send(Event::Unresponsive(why));
                return;
            }
        }
    }
}

fn counters(stop: &CancellationToken) -> Result<Counters, CommandError> {
    let peers = show::peers(stop)?;
    Ok(Counters {
        received: peers.iter().map(|peer| peer.received).sum(),
        sent: peers.iter().map(|peer| peer.sent).sum(),
    })
}

/// An interface that cannot even be shown is no endpoint.
fn evidence(
    before: Result<Counters, CommandError>,
    after: Result<Counters, CommandError>,
) -> Evidence {
    match (before, after) {
        (Ok(before), Ok(after)) => Evidence::from_counters(before, after),
        _ => Evidence::Gone,
    }
}
