//! The first sign that somebody at the other end of an interface answers: several are asked, by
//! several protocols, and any answer will do. Nothing is waited for but the sockets themselves.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::{dns_message, icmp_echo};
use crate::system::cancellation::{CancellationToken, Cancelled};

const DNS_PORT: u16 = 53;

/// Questions to which the answers themselves do not matter.
pub struct Questions(Vec<OpenQuestion>);

/// One socket that only hears whom it asks.
struct OpenQuestion {
    socket: Socket,
    text: Vec<u8>,
    /// Of an echo by a raw socket, which hears those of others too.
    raw_echo: Option<u16>,
}

impl Questions {
    /// By `interface`: an echo from `host`, and the addresses of `name` from each of
    /// `name_servers`. What cannot be asked is left out.
    pub fn new(
        interface: &str,
        host: Option<Ipv4Addr>,
        name_servers: &[Ipv4Addr],
        name: &str,
    ) -> Self {
        let echo = host.map(|host| OpenQuestion::echo(interface, host));
        let look_ups = name_servers
            .iter()
            .map(|server| OpenQuestion::look_up(interface, *server, name));
        let made = echo.into_iter().chain(look_ups);
        Self(
            made.filter_map(|question| {
                question
                    .inspect_err(|error| log::debug!("{interface}: {error}"))
                    .ok()
            })
            .collect(),
        )
    }

    /// Asks them all, again if that was done before.
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
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        // What cannot be waited for is looked at all the same.
        let _ = poll(&mut waiting, timeout);
        stop.check()?;
        Ok(self.0.iter().any(OpenQuestion::is_answered))
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

    #[test]
    fn any_answer_will_do_and_none_is_none() {
        let stop = CancellationToken::new();
        let all_silent = Questions::new("lo", None, &[Ipv4Addr::LOCALHOST], "example.com");
        all_silent.ask();
        let short = Duration::from_millis(10);
        assert_eq!(all_silent.any_answered(short, &stop), Ok(false));
        let host = Some(Ipv4Addr::LOCALHOST);
        let one_answers = Questions::new("lo", host, &[Ipv4Addr::LOCALHOST], "example.com");
        one_answers.ask();
        let answered = one_answers.any_answered(Duration::from_secs(20), &stop);
        assert_eq!(answered, Ok(true));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stop = CancellationToken::new();
        stop.cancel();
        let questions = Questions::new("lo", None, &[Ipv4Addr::LOCALHOST], "example.com");
        let short = Duration::from_millis(10);
        assert_eq!(questions.any_answered(short, &stop), Err(Cancelled));
        let nobody = Questions::new("lo", None, &[], "example.com");
        assert_eq!(nobody.any_answered(short, &stop), Err(Cancelled));
    }
}
