//! Keeps one client told: asks it which port it has, tells it where that is another one, asks back,
//! and looks again for as long as there is a port.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::course::{ClientWord, Course, LookOutcome, Sequel};
use super::deluge::Deluge;
use super::http_hook::ToldByHttp;
use super::login::ReadLogin;
use super::options::{ClientOptions, ClientTarget, ClientUrl};
use super::port_client::{Heard, PortClient};
use super::qbittorrent::Qbittorrent;
use super::rtorrent::Rtorrent;
use super::scgi;
use super::slskd::Slskd;
use super::talk::{Talk, Trouble};
use super::transmission::Transmission;
use crate::system::cancellation::CancellationToken;

/// Between the questions whether a client has taken the port that it was told: some do so a moment
/// later.
const SETTLING: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(700),
    Duration::from_millis(1500),
];

fn client_of(target: &ClientTarget) -> Box<dyn PortClient> {
    match target.clone() {
        ClientTarget::Qbittorrent(url) => Box::new(Qbittorrent { url, cookie: None }),
        ClientTarget::Transmission(url) => Box::new(Transmission {
            url,
            session: String::new(),
        }),
        ClientTarget::Deluge(url) => Box::new(Deluge { url, cookie: None }),
        ClientTarget::Rtorrent(url) => Box::new(Rtorrent { url }),
        ClientTarget::Slskd(url) => Box::new(Slskd { url }),
        ClientTarget::Http(hook) => Box::new(ToldByHttp { hook, told: None }),
    }
}

/// A login that was refused, and is not sent again before a moment.
struct RefusedLogin {
    login: ReadLogin,
    not_before: Instant,
}

/// Keeps one client told.
pub struct Keeper {
    options: ClientOptions,
    interval: Duration,
    tls: Option<Arc<ClientConfig>>,
    client: Box<dyn PortClient>,
    course: Course,
    refused: Option<RefusedLogin>,
    rng: fastrand::Rng,
}

impl Keeper {
    /// `interval` is the time between two looks at a client that has the port; `tls` is for those
    /// with `https`.
    pub fn new(options: ClientOptions, interval: Duration, tls: Option<Arc<ClientConfig>>) -> Self {
        Self {
            client: client_of(&options.target),
            options,
            interval,
            tls,
            course: Course::default(),
            refused: None,
            rng: fastrand::Rng::new(),
        }
    }

    /// Until `inbox` is closed or a stop is asked for: `inbox` brings the port whenever it is
    /// bound, or `None` when there is none any more. `report` is told what the client says
    /// whenever that is news, or `None` when it is not asked any more.
    pub fn run(
        mut self,
        inbox: &Receiver<Option<u16>>,
        report: impl Fn(&'static str, Option<ClientWord>),
        stop: &CancellationToken,
    ) {
        let name = self.options.target.name();
        let mut talk = Talk::new(self.tls.clone(), stop);
        let (mut wanted, mut pause) = (None, Duration::MAX);
        while !stop.is_cancelled() {
            match inbox.recv_timeout(pause) {
                Ok(next) => {
                    // The latest counts.
                    wanted = inbox.try_iter().last().unwrap_or(next);
                    self.course.begin_anew();
                }
                Err(RecvTimeoutError::Timeout) => (),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let Some(port) = wanted else {
                self.course.pause();
                report(name, None);
                pause = Duration::MAX;
                continue;
            };
            let login = self.options.login.read();
            pause = self.interval;
            let Some(outcome) = self.look(port, &login, &talk) else {
                if let Some(word) = self.course.said_again() {
                    report(name, Some(word));
                }
                continue;
            };
            if stop.is_cancelled() {
                return;
            }
            if matches!(outcome, LookOutcome::Away(_)) {
                talk.resolve_anew();
            }
            let sequel = self
                .course
                .after(&outcome, port, self.interval, &mut self.rng);
            pause = sequel.pause;
            self.refused = sequel.login_pause.map(|pause| RefusedLogin {
                login,
                not_before: after(pause),
            });
            self.say(&outcome, &sequel, port);
            if let Some(word) = sequel.news {
                report(name, Some(word));
            }
        }
    }

    /// `None` where nothing was asked, as a login would be refused again.
    fn look(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Option<LookOutcome> {
        if let Some(refused) = &self.refused
            && refused.login == *login
            && Instant::now() < refused.not_before
        {
            let trouble = self
                .options
                .target
                .url(port)
                .and_then(|url| is_there(&url, talk))?;
            // It may be another one when it comes back.
            self.refused = None;
            self.course.forget_refusals();
            self.client = client_of(&self.options.target);
            return Some(trouble.into());
        }
        let outcome = see_to(self.client.as_mut(), port, login, talk);
        Some(outcome.unwrap_or_else(LookOutcome::from))
    }

    /// Once, until it changes.
    fn say(&self, outcome: &LookOutcome, sequel: &Sequel, port: u16) {
        let (name, target) = (self.options.target.name(), &self.options.target);
        let Some(word) = &sequel.news else { return };
        let words = &word.words;
        let place = target.url(port).map(|url| url.to_string());
        let place = place.unwrap_or_default();
        match outcome {
            LookOutcome::HasPort { .. } => log::info!("{name}: {words}"),
            LookOutcome::Away(_) => log::info!("{name}: {words}; it is waited for"),
            LookOutcome::Refused(_) | LookOutcome::Closed(_) => {
                log::warn!("{name} at {place} {words}: {}", target.advice());
            }
            LookOutcome::HasNot(_) | LookOutcome::Odd(_) => {
                log::warn!("{name} at {place}: {words}; trying again");
            }
        }
    }
}

/// Sees to it that a client has the port.
fn see_to(
    client: &mut dyn PortClient,
    port: u16,
    login: &ReadLogin,
    talk: &Talk<'_>,
) -> Result<LookOutcome, Trouble> {
    if client.hear(port, login, talk)? == Heard::Port(port) {
        return Ok(LookOutcome::HasPort { was_told: false });
    }
    client.tell(port, login, talk)?;
    let mut says = String::new();
    for pause in SETTLING {
        if talk.stop.pause(pause).is_err() {
            break;
        }
        says = match client.hear(port, login, talk)? {
            Heard::Port(heard) if heard == port => {
                return Ok(LookOutcome::HasPort { was_told: true });
            }
            Heard::Port(heard) => format!("listens on {heard}"),
            Heard::Other(words) => words,
        };
    }
    Ok(LookOutcome::HasNot(says))
}

/// Why nobody can be reached there; `None` where somebody can.
fn is_there(url: &ClientUrl, talk: &Talk<'_>) -> Option<Trouble> {
    let connected = match url {
        ClientUrl::Http(url) => talk.connect(&url.host, url.port).map(drop),
        ClientUrl::Scgi { host, port } => talk.connect(host, *port).map(drop),
        ClientUrl::Socket(path) => scgi::connect_to(path).map(drop),
    };
    connected.err()
}

fn after(pause: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(pause).unwrap_or(now)
}
