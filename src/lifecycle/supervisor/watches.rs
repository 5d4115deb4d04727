//! What watches the server in use, each on a thread of its own: started with each connect, ended
//! with each reconnect.

use std::sync::Arc;

use super::endpoint::EndpointWatch;
use super::event::Event;
use super::exit_watch::ExitWatch;
use super::probe::Probe;
use super::task::Task;
use super::{Supervisor, monitor};
use crate::container::Container;

impl Supervisor {
    /// Of the server in use.
    pub(super) fn start_watches(&mut self, container: &Container) {
        let watch = EndpointWatch {
            witnesses: self.tunnel.witnesses(),
            reporter: container.reporter.clone(),
            events: self.events.clone(),
            mark: container.mark,
            reconnects: container.settings.monitor.enabled,
        };
        let endpoint = Task::start("endpoint", &container.stop, move |stop| watch.run(stop));
        self.watches.extend(endpoint);
        self.measure_way(container);
        self.ask_for_exit(container);
        if !container.settings.monitor.enabled {
            return;
        }
        let monitor = container.settings.monitor;
        let (probe, events) = (Probe::new(&self.tunnel, container), self.events.clone());
        log::debug!("monitoring the endpoint");
        let monitor = Task::start("monitor", &container.stop, move |stop| {
            monitor::run(&probe, &monitor, &events, stop);
        });
        self.watches.extend(monitor);
    }

    /// Has the MTU fit the way to the server in use, which can be told only now that it answers.
    fn measure_way(&mut self, container: &Container) {
        let Some(way) = self.tunnel.way(container) else {
            return;
        };
        let events = self.events.clone();
        let measured = Task::start("way", &container.stop, move |stop| {
            // The loop may be gone already.
            way.measure(stop, |size| drop(events.send(Event::WayTakes(size))));
        });
        self.watches.extend(measured);
    }

    /// Has PIA say which address the world sees, unless the user does not want that.
    fn ask_for_exit(&mut self, container: &Container) {
        if !container.settings.exit_address_check {
            return;
        }
        let watch = ExitWatch::new(
            &self.tunnel.joined,
            Arc::clone(self.account.hosts()),
            self.events.clone(),
        );
        let asked = Task::start("exit-address", &container.stop, move |stop| watch.run(stop));
        self.watches.extend(asked);
    }

    pub(super) fn end_watches(&mut self) {
        for watch in self.watches.drain(..) {
            watch.end();
        }
    }
}
