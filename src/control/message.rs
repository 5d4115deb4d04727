//! What is asked for and answered, as JSON. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::system::invisible::is_invisible;

/// The longest request or answer, in bytes, with its newline.
pub const MAX_LINE: usize = 4096;
/// The longest list of locations, or common name, in bytes.
const MAX_TEXT: usize = 1024;

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ControlRequest {
    /// Another server.
    Reconnect {
        /// Where; where the program was sent before, if nothing is said.
        to: Option<RequestedServer>,
        /// Remember it over restarts.
        keep: bool,
    },
    /// Something about the forwarded port.
    Port(PortWish),
}

/// Which server is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RequestedServer {
    /// Of these locations, written as in `LOC`.
    Locations(String),
    /// The one of this common name.
    Server(String),
    /// What the container's variables say.
    Configured,
}

/// What is wanted of the forwarded port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortWish {
    /// Another port in place of this one.
    New,
    /// This port, bound again now.
    Rebind,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlReply {
    /// Whether it was done as asked.
    pub done: bool,
    /// In words.
    pub text: String,
}

/// A request that cannot be one.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    #[error("it is no request ({0})")]
    Unreadable(String),
    #[error("it has a text that can be no location or server")]
    BadText,
}

/// The request in a line.
///
/// # Errors
/// When it is none, or names what can be no location.
pub fn parse_request(line: &[u8]) -> Result<ControlRequest, MessageError> {
    let request = serde_json::from_slice(line).map_err(unreadable)?;
    if let ControlRequest::Reconnect { to: Some(to), .. } = &request {
        to.check()?;
    }
    Ok(request)
}

/// The position alone is said, as what was sent belongs into no log.
pub fn unreadable(error: serde_json::Error) -> MessageError {
    MessageError::Unreadable(format!("line {}, column {}", error.line(), error.column()))
}

/// A text that goes into logs, and to whoever asks.
///
/// # Errors
/// When it is empty, too long, or has letters that nobody sees.
pub fn check_text(text: &str) -> Result<(), MessageError> {
    let is_good =
        !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(is_invisible);
    is_good.then_some(()).ok_or(MessageError::BadText)
}

impl RequestedServer {
    /// What it names can be a location or a server.
    ///
    /// # Errors
    /// As [`check_text`].
    pub fn check(&self) -> Result<(), MessageError> {
        match self {
            Self::Locations(text) | Self::Server(text) => check_text(text),
            Self::Configured => Ok(()),
        }
    }
}

impl fmt::Display for RequestedServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locations(text) => f.write_str(text),
            Self::Server(cn) => write!(f, "server {cn}"),
            Self::Configured => f.write_str("what the container's variables say"),
        }
    }
}

impl fmt::Display for ControlRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reconnect { to: None, .. } => f.write_str("reconnect"),
            Self::Reconnect { to: Some(to), .. } => write!(f, "reconnect to {to}"),
            Self::Port(PortWish::New) => f.write_str("port --new"),
            Self::Port(PortWish::Rebind) => f.write_str("port --rebind"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reconnect(to: Option<RequestedServer>) -> ControlRequest {
        ControlRequest::Reconnect { to, keep: false }
    }

    #[test]
    fn what_is_written_is_read() {
        for request in [
            reconnect(None),
            reconnect(Some(RequestedServer::Locations("swiss, CA Toronto".into()))),
            reconnect(Some(RequestedServer::Configured)),
            ControlRequest::Port(PortWish::New),
        ] {
            let line = serde_json::to_vec(&request).unwrap();
            assert_eq!(parse_request(&line).unwrap(), request);
        }
    }

    #[test]
    fn what_could_smuggle_a_line_into_a_log_is_refused() {
        for text in ["", " ", "swiss\nFatal error", "\u{202e}ssiws"] {
            let to = Some(RequestedServer::Locations(text.into()));
            let line = serde_json::to_vec(&reconnect(to)).unwrap();
            assert!(parse_request(&line).is_err(), "{text:?}");
        }
        let long = RequestedServer::Server("x".repeat(MAX_TEXT + 1));
        assert!(long.check().is_err());
        let error = parse_request(b"{\"pass\nword\": 1}").unwrap_err();
        assert!(!error.to_string().contains("pass"), "{error}");
    }
}
