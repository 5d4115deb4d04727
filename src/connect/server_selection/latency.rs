//! How far the locations are, by TCP connects to the port where they take registrations: for
//! `LOC=auto` and for `locations --ping`.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pia::regions::{Location, Server};
use crate::system::cancellation::CancellationToken;
use crate::system::parallel;
use crate::underlay::socket::{self, Via};

/// A location that takes longer is not near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A location whose first servers are silent is not near.
const MAX_SERVERS: usize = 2;
/// Connects under way at once: 190 locations of 20 ms then take well under a second.
const MAX_CONNECTS: usize = 48;
/// For all together, where most are silent and few threads can be had; the rest is not near.
const MEASUREMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// How many may be the nearest after the first look.
const MEASURED_AGAIN: usize = 6;

/// The locations that answered, nearest first. `progress` is told how many are still to be
/// measured.
pub fn nearest_first(
    locations: Vec<Location>,
    port: u16,
    via: &Via,
    stop: &CancellationToken,
    progress: impl Fn(usize) + Sync,
) -> Vec<(Location, Duration)> {
    let started = Instant::now();
    let unmeasured = AtomicUsize::new(locations.len());
    let queue = Mutex::new(locations.into_iter());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let measured = parallel::map(&[(); MAX_CONNECTS], |()| {
        let mut measured = Vec::new();
        while started.elapsed() < MEASUREMENT_TIMEOUT
            && let Some(location) = next()
        {
            if let Some(latency) = measure(&location, port, via, stop) {
                measured.push((location, latency));
            }
            progress(unmeasured.fetch_sub(1, Ordering::Relaxed) - 1);
        }
        measured
    });
    let mut measured: Vec<(Location, Duration)> = measured.into_iter().flatten().collect();
    by_latency(&mut measured);
    // Many at once are in each other's way, so those that matter are measured again, one by one.
    for (location, latency) in measured.iter_mut().take(MEASURED_AGAIN) {
        *latency = measure(location, port, via, stop).map_or(*latency, |again| again.min(*latency));
    }
    by_latency(&mut measured);
    measured
}

/// Those of a location's servers by which it is measured.
pub fn asked(location: &Location) -> impl Iterator<Item = &Server> {
    location.servers.iter().take(MAX_SERVERS)
}

fn by_latency(measured: &mut [(Location, Duration)]) {
    measured.sort_by_key(|(_, latency)| *latency);
}

fn measure(
    location: &Location,
    port: u16,
    via: &Via,
    stop: &CancellationToken,
) -> Option<Duration> {
    // One of them may be dead.
    asked(location).find_map(|server| {
        let started = Instant::now();
        let address = SocketAddrV4::new(server.ip, port);
        socket::connect(via, address, CONNECT_TIMEOUT, stop).ok()?;
        Some(started.elapsed())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    #[test]
    fn a_location_whose_first_server_is_dead_is_measured_by_the_next() {
        let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = here.local_addr().unwrap().port();
        let server = |last| Server {
            cn: "swiss".to_owned(),
            ip: Ipv4Addr::new(127, 0, 0, last),
        };
        let location = |servers| Location {
            id: "swiss".to_owned(),
            name: "Switzerland".to_owned(),
            country: "CH".to_owned(),
            port_forward: true,
            geo: false,
            offline: false,
            servers,
        };
        let stop = CancellationToken::new();
        for (servers, is_near) in [
            (vec![server(9), server(1)], true),
            (vec![server(1)], true),
            (vec![server(9), server(8), server(1)], false),
            (vec![], false),
        ] {
            let measured = measure(&location(servers), port, &Via::Routing, &stop);
            assert_eq!(measured.is_some(), is_near);
        }
    }
}
