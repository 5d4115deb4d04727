//! The programs of `PORT_CLIENTS`: each is told by a thread of its own, so that one that hangs
//! holds up nothing else. Without them there is no thread.

use std::sync::mpsc::{self, Sender};
use std::time::SystemTime;

use super::task::Task;
use crate::container::Container;
use crate::pia::trust;
use crate::port_clients::{ClientTarget, ClientWord, Keeper};
use crate::status::{self, PortClientStatus, Reporter};

/// The clients, once there has been a port for them.
#[derive(Default)]
pub struct ToldClients {
    has_begun: bool,
    running: Vec<(Sender<Option<u16>>, Task<()>)>,
}

impl ToldClients {
    /// Has all of them told of the port that is bound now, or that there is none; said again after
    /// a reconnect, even if the port is the same.
    pub fn tell(&mut self, port: Option<u16>, container: &Container) {
        if !self.has_begun {
            self.has_begun = true;
            self.begin(container);
        }
        for (inbox, _) in &self.running {
            // One that has ended is told nothing any more.
            let _ = inbox.send(port);
        }
    }

    fn begin(&mut self, container: &Container) {
        let Some(options) = &container.settings.port_clients else {
            return;
        };
        let targets = options.clients.iter().map(|client| &client.target);
        let tls = targets.clone().any(ClientTarget::is_tls).then(trust::web);
        let tls = tls.and_then(|loaded| {
            let failed = |error: &trust::TrustError| log::warn!("PORT_CLIENTS: {error}");
            loaded.inspect_err(failed).ok()
        });
        for client in &options.clients {
            let (sender, inbox) = mpsc::channel();
            let name = format!("port-{}", client.target.name());
            let keeper = Keeper::new(client.clone(), options.interval, tls.clone());
            let reporter = container.reporter.clone();
            let task = Task::start(&name, &container.stop, move |stop| {
                keeper.run(&inbox, |name, word| publish(&reporter, name, word), stop);
            });
            self.running.extend(task.map(|task| (sender, task)));
        }
    }

    /// Ends the threads.
    pub fn end(&mut self) {
        for (inbox, task) in self.running.drain(..) {
            // Its wait ends with the channel.
            drop(inbox);
            task.end();
        }
    }
}

fn publish(reporter: &Reporter, name: &str, word: Option<ClientWord>) {
    reporter.update(|status| {
        let Some(word) = word else {
            status.port_clients.remove(name);
            return;
        };
        let client = PortClientStatus {
            has_port: word.has_port,
            says: word.words,
            since: status::seconds(SystemTime::now()),
        };
        status.port_clients.insert(name.to_owned(), client);
    });
}
