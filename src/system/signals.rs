//! Signals to the program: stop (SIGTERM, SIGINT, SIGQUIT) and reconnect (SIGHUP).

use std::io;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::cancellation::CancellationToken;

/// From now on a SIGHUP does nothing to this process: it is meant for the one that reconnects, and
/// `pkill -HUP wireguard-pia` reaches all of the name.
pub fn ignore_hangup() -> io::Result<()> {
    signal_hook::flag::register(SIGHUP, Arc::default()).map(drop)
}

/// From now on a stop signal makes the request `stop` and calls `on_stop`, and a SIGHUP calls
/// `on_hangup`, on a thread of its own.
pub fn watch(
    stop: &CancellationToken,
    on_stop: impl Fn() + Send + 'static,
    on_hangup: impl Fn() + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP])?;
    let stop = stop.clone();
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGHUP {
                    on_hangup();
                } else {
                    stop.cancel();
                    on_stop();
                }
            }
        })?;
    Ok(())
}
