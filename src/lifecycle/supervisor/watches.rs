//! What watches the server in use, each on a thread of its own: started with each connect, ended
//! with each reconnect. One that gets no thread is owed, and started as soon as it gets one.

use std::sync::Arc;

use super::endpoint::EndpointWatch;
use super::event::Event;
use super::exit_watch::ExitWatch;
use super::probe::Probe;
use super::task::Task;
use super::watch_kind::WatchKind;
use super::{Supervisor, monitor};
use crate::container::Container;

impl Supervisor {
    /// Of the server in use.
    pub(super) fn start_watches(&mut self, container: &Container) {
        self.owed_watches = vec![
            WatchKind::Endpoint,
            WatchKind::Way,
            WatchKind::ExitAddress,
            WatchKind::Monitor,
        ];
        self.start_owed_watches(container);
    }

    /// Those that no thread could be had for stay owed.
    pub(super) fn start_owed_watches(&mut self, container: &Container) {
        for watch in std::mem::take(&mut self.owed_watches) {
            match watch {
                WatchKind::Endpoint => self.watch_endpoint(container),
                WatchKind::Way => self.measure_way(container),
                WatchKind::ExitAddress => self.ask_for_exit(container),
                WatchKind::Monitor => self.monitor(container),
            }
        }
    }

    fn keep(&mut self, watch: WatchKind, task: Option<Task<()>>) {
        match task {
            Some(task) => self.watches.push(task),
            None => self.owed_watches.push(watch),
        }
    }

    fn watch_endpoint(&mut self, container: &Container) {
        let watch = EndpointWatch {
            witnesses: self.tunnel.witnesses(),
            has_answered: Arc::clone(&self.tunnel.has_answered),
            reporter: container.reporter.clone(),
            events: self.events.clone(),
            way_in: self.tunnel.way_in(),
            reconnects: container.settings.monitor.enabled,
        };
        let watching = Task::start_at(
            self.refusal_level,
            "endpoint",
            &container.stop,
            move |stop| watch.run(stop),
        );
        self.keep(WatchKind::Endpoint, watching);
    }

    /// Unless the user does not want it.
    fn monitor(&mut self, container: &Container) {
        if !container.settings.monitor.enabled {
            return;
        }
        let monitor = container.settings.monitor;
        let (probe, events) = (Probe::new(&self.tunnel, container), self.events.clone());
        log::debug!("monitoring the endpoint");
        let monitoring = Task::start_at(
            self.refusal_level,
            "monitor",
            &container.stop,
            move |stop| {
                monitor::run(&probe, &monitor, &events, stop);
            },
        );
        self.keep(WatchKind::Monitor, monitoring);
    }

    /// Has the MTU fit the way to the server in use, which can be told only now that it answers.
    fn measure_way(&mut self, container: &Container) {
        let Some(way) = self.tunnel.way(container) else {
            return;
        };
        let events = self.events.clone();
        let measured = Task::start_at(self.refusal_level, "way", &container.stop, move |stop| {
            // The loop may be gone already.
            way.measure(stop, |size| drop(events.send(Event::WayTakes(size))));
        });
        self.keep(WatchKind::Way, measured);
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
        let asked = Task::start_at(
            self.refusal_level,
            "exit-address",
            &container.stop,
            move |stop| watch.run(stop),
        );
        self.keep(WatchKind::ExitAddress, asked);
    }

    pub(super) fn end_watches(&mut self) {
        self.owed_watches.clear();
        for watch in self.watches.drain(..) {
            watch.end();
        }
    }
}
