//! Networks that are attached, changed or taken away while the program runs.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use super::supervisor::event::Event;
use super::supervisor::task::Task;
use crate::firewall::kill_switch::KillSwitch;
use crate::system::backoff::Backoff;
use crate::system::cancellation::CancellationToken;
use crate::underlay::changes::Changes;
use crate::underlay::interfaces;

/// So long after a change a resolv.conf that is written belongs to it: an engine does so after the
/// interfaces are there.
const SETTLING: Duration = Duration::from_secs(30);

/// Between tries to hear of changes, as where no file can be opened.
const RETRY: Backoff = Backoff {
    first: Duration::from_secs(5),
    ceiling: Duration::from_secs(20),
};

/// Watches them from now on. What the kill switch has to do about an interface it does at once,
/// whatever the main loop is waiting for; the rest is the main loop's. IPv6 is looked at where it
/// is open.
pub(super) fn watch(
    kill_switch: KillSwitch,
    ipv6: bool,
    events: Sender<Event>,
    stop: &CancellationToken,
) -> Option<Task<()>> {
    // Before anything is read, so that no change is missed.
    let mut changes = Changes::subscribe(ipv6);
    let mut changed_at: Option<Instant> = None;
    let mut known = interfaces::snapshot(ipv6).ok();
    Task::start("networks", stop, move |stop| {
        let mut failures: u32 = 0;
        loop {
            let waited = changes.and_then(|changes| changes.wait(stop).map(|()| changes));
            if stop.is_cancelled() {
                return;
            }
            changes = match waited {
                Ok(changes) => {
                    failures = 0;
                    Ok(changes)
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    if failures == 1 {
                        log::warn!("networks that are attached now may be followed late: {error}");
                    }
                    if stop.pause(RETRY.nominal(failures)).is_err() {
                        return;
                    }
                    // What was missed may be anything.
                    changed_at = Some(Instant::now());
                    Changes::subscribe(ipv6)
                }
            };
            if changes.is_err() {
                continue;
            }
            let now = interfaces::snapshot(ipv6).ok();
            if now != known {
                known = now;
                changed_at = Some(Instant::now());
                if let Err(error) = kill_switch.renew() {
                    log::warn!("{error}");
                }
            } else if changed_at.is_none_or(|at| at.elapsed() > SETTLING) {
                // wg0 comes and goes, and users write their resolv.conf.
                continue;
            }
            // The other end is gone only when the life is over.
            drop(events.send(Event::NetworksChanged));
        }
    })
}
