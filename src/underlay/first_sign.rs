//! The first sign that somebody at the other end of an interface answers: several are asked, by
//! several protocols, and any answer will do. Nothing is waited for but the sockets themselves.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::deadline::Deadline;
use super::{dns_message, icmp_echo};
use crate::system::cancellation::{CancellationToken, Cancelled};

const DNS_PORT: u16 = 53;
/// Questions are repeated at this interval, as packets get lost.
pub const REPEAT_INTERVAL: Duration = Duration::from_millis(200);

/// Those at the other end of an interface who can say that it is reached.
#[derive(Debug, Clone)]
pub struct Witnesses {
    /// By which they are asked.
    pub interface: &'static str,
    /// Answers an echo.
    pub host: Option<Ipv4Addr>,
    pub name_servers: Vec<Ipv4Addr>,
    /// What the name servers are asked for.
    pub name: &'static str,
}

/// Questions to which the answers themselves do not matter.
pub struct Questions(Vec<OpenQuestion>);

/// One socket that only hears whom it asks.
struct OpenQuestion {
    socket: Socket,
    text: Vec<u8>,
    /// Of an echo by a raw socket, which hears those of others too.
    raw_echo: Option<u16>,
}

impl Witnesses {
    /// Asks all of them, for the first time. What cannot be asked is left out.
    pub fn ask(&self) -> Questions {
        let echo = self
            .host
            .map(|host| OpenQuestion::echo(self.interface, host));
        let look_ups = self
            .name_servers
            .iter()
            .map(|server| OpenQuestion::look_up(self.interface, *server, self.name));
        let mut questions = Vec::new();
        for question in echo.into_iter().chain(look_ups) {
            match question {
                Ok(question) => questions.push(question),
                Err(error) => log::debug!("{}: {error}", self.interface),
            }
        }
        let questions = Questions(questions);
        questions.ask();
        questions
    }

    /// Whether any of them answers within `timeout`; asked again and again until then.
    ///
    /// # Errors
    /// When a stop is asked for.
    pub fn any_answers(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<bool, Cancelled> {
        let deadline = Deadline::after(timeout);
        let questions = self.ask();
        while !deadline.left().is_zero() {
            if questions.any_answered(REPEAT_INTERVAL.min(deadline.left()), stop)? {
                return Ok(true);
            }
            questions.ask();
        }
        Ok(false)
    }
}

impl Questions {
    /// Asks them all again.
    pub fn ask(&self) {
        for question in &self.0 {
            // The next time it may be possible.
            if let Err(error) = question.socket.send(&question.text) {
                log::debug!("asking through the tunnel: {error}");
            }
        }
    }

    /// Whether an answer is there, or comes within `timeout`.
    ///
    /// # Errors
    /// When a stop is asked for; it is noticed at the end of `timeout` at the latest.
    pub fn any_answered(
        &self,
        timeout: Duration,
        stop: &CancellationToken,
    ) -> Result<bool, Cancelled> {
        let mut waiting: Vec<PollFd<'_>> = self
            .0
            .iter()
            .map(|question| PollFd::new(question.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        if waiting.is_empty() {
            return stop.pause(timeout).map(|()| false);
        }
        let deadline = Deadline::after(timeout);
        loop {
            let left = PollTimeout::try_from(deadline.left()).unwrap_or(PollTimeout::MAX);
            // What cannot be waited for is looked at all the same.
            let waited = poll(&mut waiting, left);
            stop.check()?;
            if self.0.iter().any(OpenQuestion::is_answered) {
                return Ok(true);
            }
            // Else it was a refusal, or another's answer: it is no reason to ask again at once.
            if waited.is_err() || deadline.left().is_zero() {
                return Ok(false);
            }
        }
    }
}

impl OpenQuestion {
    fn echo(interface: &str, host: Ipv4Addr) -> io::Result<Self> {
        let (socket, is_raw) = icmp_echo::socket(interface)?;
        let identifier = fastrand::u16(..);
        Self::to(
            SocketAddrV4::new(host, 0),
            socket,
            icmp_echo::request(identifier, 1).to_vec(),
            is_raw.then_some(identifier),
        )
    }

    fn look_up(interface: &str, server: Ipv4Addr, name: &str) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        let text = dns_message::question(fastrand::u16(..), name)?;
        Self::to(SocketAddrV4::new(server, DNS_PORT), socket, text, None)
    }

    fn to(
        address: SocketAddrV4,
        socket: Socket,
        text: Vec<u8>,
        raw_echo: Option<u16>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        socket.connect(&address.into())?;
        Ok(Self {
            socket,
            text,
            raw_echo,
        })
    }

    fn is_answered(&self) -> bool {
        let mut buffer = [0; 512];
        while let Ok(length) = (&self.socket).read(&mut buffer) {
            let datagram = buffer.get(..length).unwrap_or_default();
            if self.raw_echo.is_none() || icmp_echo::is_reply(datagram, self.raw_echo) {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witnesses(host: Option<Ipv4Addr>, name_servers: &[Ipv4Addr]) -> Witnesses {
        Witnesses {
            interface: "lo",
            host,
            name_servers: name_servers.to_vec(),
            name: "example.com",
        }
    }

    #[test]
    fn any_answer_will_do_and_none_is_none() {
        let stop = CancellationToken::new();
        let silent = witnesses(None, &[Ipv4Addr::LOCALHOST]);
        let short = Duration::from_millis(10);
        assert_eq!(silent.any_answers(short, &stop), Ok(false));
        let one_answers = witnesses(Some(Ipv4Addr::LOCALHOST), &[Ipv4Addr::LOCALHOST]);
        let long = Duration::from_secs(20);
        assert_eq!(one_answers.any_answers(long, &stop), Ok(true));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = CancellationToken::new();
        stop.cancel();
        let long = Duration::from_secs(20);
        for name_servers in [&[Ipv4Addr::LOCALHOST][..], &[]] {
            let outcome = witnesses(None, name_servers).any_answers(long, &stop);
            assert_eq!(outcome, Err(Cancelled));
        }
    }
}
