//! Hosts that are far away, in user space: the kernel's delay line (tc netem) is a module that many
//! machines lack. An answer to what was said takes a round trip to come, as connecting does.
//! Packets inside the tunnel, and those of WireGuard, take no time.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How far away all hosts are.
#[derive(Debug, Default)]
pub struct RoundTrip(AtomicU64);

impl RoundTrip {
    /// From now on a question and its answer take so long.
    pub fn set(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }

    pub fn time(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// A connection of somebody who is far away.
#[derive(Debug)]
pub struct FarStream {
    pub stream: TcpStream,
    round_trip: Duration,
    /// When the other side can have answered what was said last.
    answer: Instant,
    /// Nothing was read yet.
    is_new: bool,
}

impl FarStream {
    /// It has just been accepted. The other side was told so half a round trip later.
    pub fn new(stream: TcpStream, round_trip: &RoundTrip) -> Self {
        let round_trip = round_trip.time();
        Self {
            stream,
            round_trip,
            answer: Instant::now() + 2 * round_trip,
            is_new: true,
        }
    }

    /// What is there already was said before: it is no answer.
    fn is_there(&self) -> io::Result<bool> {
        self.stream.set_nonblocking(true)?;
        let there = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_nonblocking(false)?;
        Ok(there)
    }
}

impl Read for FarStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.round_trip.is_zero() || !self.is_new && self.is_there()? {
            return self.stream.read(buffer);
        }
        self.is_new = false;
        let length = self.stream.read(buffer)?;
        thread::sleep(self.answer.saturating_duration_since(Instant::now()));
        Ok(length)
    }
}

impl Write for FarStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.answer = Instant::now() + self.round_trip;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
