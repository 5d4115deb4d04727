//! Everything that clients asked for, judged by no one.

use std::net::Ipv4Addr;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::faults::Api;
use super::http::Request;

/// A request, when it came, and to whom.
#[derive(Clone, Debug)]
pub struct Record {
    pub at: Instant,
    pub api: Api,
    /// The host name or server CN that was asked.
    pub host: String,
    pub request: Request,
}

/// A DNS question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The CN of the VPN server through whose tunnel it came; `None` on the open internet.
    pub through: Option<String>,
    pub name: String,
    pub tcp: bool,
}

/// A key that a server took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub server: String,
    pub public_key: String,
    pub address: Ipv4Addr,
}

/// A port that a server forwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPort {
    pub server: String,
    pub port: u16,
    pub address: Ipv4Addr,
    /// How often the binding was refreshed since it was made.
    pub refreshed: u32,
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Record>,
    questions: Vec<Question>,
    registrations: Vec<Registration>,
    accepted_logins: usize,
}

/// The record, and a bell that rings at each new entry.
#[derive(Debug, Default)]
pub struct Records {
    seen: Mutex<Seen>,
    news: Condvar,
}

impl Records {
    pub(super) fn request(&self, api: Api, host: &str, request: &Request) {
        let host = host.to_owned();
        let record = Record {
            at: Instant::now(),
            api,
            host,
            request: request.clone(),
        };
        self.lock().requests.push(record);
        self.news.notify_all();
    }

    pub(super) fn question(&self, question: Question) {
        self.lock().questions.push(question);
        self.news.notify_all();
    }

    pub(super) fn registration(&self, registration: Registration) {
        self.lock().registrations.push(registration);
        self.news.notify_all();
    }

    pub(super) fn login(&self) {
        self.lock().accepted_logins += 1;
        self.news.notify_all();
    }

    pub fn all(&self) -> Vec<Record> {
        self.lock().requests.clone()
    }

    pub fn of(&self, api: Api) -> Vec<Record> {
        self.lock()
            .requests
            .iter()
            .filter(|record| record.api == api)
            .cloned()
            .collect()
    }

    pub fn questions(&self) -> Vec<Question> {
        self.lock().questions.clone()
    }

    pub fn registrations(&self) -> Vec<Registration> {
        self.lock().registrations.clone()
    }

    pub fn accepted_logins(&self) -> usize {
        self.lock().accepted_logins
    }

    /// Blocks until this API was asked so many times in all; false when it took too long.
    pub fn wait_for(&self, api: Api, count: usize, timeout: Duration) -> bool {
        let few = |seen: &mut Seen| seen.requests.iter().filter(|r| r.api == api).count() < count;
        let waited = self.news.wait_timeout_while(self.lock(), timeout, few);
        !waited.expect("no holder of this lock panics").1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder of this lock panics")
    }
}
