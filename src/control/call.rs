//! A request that came in, and who waits for its answer.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::message::{ControlReply, ControlRequest, MAX_LINE};

/// For an answer, which is a single line, to be taken.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// A request with the client that waits for what comes of it. Dropped without an answer, the client
/// learns that there is none.
#[derive(Debug)]
pub struct ControlCall {
    pub request: ControlRequest,
    stream: UnixStream,
}

impl ControlCall {
    pub(super) fn new(request: ControlRequest, stream: UnixStream) -> Self {
        Self { request, stream }
    }

    /// Tells the client what came of it; that it is gone harms nobody.
    pub fn answer(self, outcome: Result<String, String>) {
        if let Err(error) = answer(&self.stream, outcome) {
            log::debug!("control: nobody took the answer: {error}");
        }
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_abandoned(&self) -> bool {
        let mut client = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let looked = poll(&mut client, PollTimeout::ZERO);
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR;
        let [client] = client;
        looked.is_ok() && client.revents().is_some_and(|found| found.intersects(gone))
    }
}

/// Writes the answer, cut to what a line can hold.
pub(super) fn answer(mut stream: &UnixStream, outcome: Result<String, String>) -> io::Result<()> {
    let (done, text) = match outcome {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    // Even if each letter takes six bytes as JSON has it.
    let text = text.chars().take(MAX_LINE / 8).collect();
    let mut line = serde_json::to_vec(&ControlReply { done, text })?;
    line.push(b'\n');
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::message::PortWish;

    #[test]
    fn whoever_waits_is_told_from_who_is_gone() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let call = ControlCall::new(ControlRequest::Port(PortWish::New), ours);
        assert!(!call.is_abandoned());
        drop(theirs);
        assert!(call.is_abandoned());
        call.answer(Ok("nobody hears it".into()));
    }

    #[test]
    fn the_longest_answer_fits_a_line() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        answer(&ours, Err("\u{1}".repeat(MAX_LINE))).unwrap();
        let line = super::super::line::read(&theirs, Duration::from_secs(60)).unwrap();
        let reply: ControlReply = serde_json::from_slice(&line).unwrap();
        assert!(!reply.done && reply.text.len() == MAX_LINE / 8);
    }
}
