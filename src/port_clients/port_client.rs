//! What every kind of client can do.

use super::login::ReadLogin;
use super::talk::{Talk, Trouble};

/// What a client says of its port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It listens on this one, and will after its next start.
    Port(u16),
    /// Anything else, to follow "it".
    Other(String),
}

/// A client of some kind.
pub(super) trait PortClient: Send {
    /// Which port it has; `wanted` is the one that it should.
    fn hear(&mut self, wanted: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<Heard, Trouble>;

    /// Has it listen on this one.
    fn tell(&mut self, port: u16, login: &ReadLogin, talk: &Talk<'_>) -> Result<(), Trouble>;
}
