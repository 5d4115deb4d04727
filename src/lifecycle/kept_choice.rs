//! The choice of a server that a command made, and that is kept over restarts: a small file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::connect::connector::Connector;
use crate::connect::register::Joined;
use crate::container::Container;
use crate::control::message::{self, MessageError, RequestedServer};
use crate::failure::{Failure, FailureKind};
use crate::settings::{SeenServer, ServerChoice};
use crate::system::files::{self, FileError};
use crate::system::paths;

/// How it is undone.
const UNDO: &str = "`wireguard-pia reconnect --forget` undoes that";

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptChoice {
    #[serde(flatten)]
    pub choice: RequestedServer,
    /// Where the server was: the lists of the next start may name others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenServer>,
}

/// The choice in the file.
///
/// # Errors
/// When it is none, or names what can be no location.
pub fn parse(text: &[u8]) -> Result<KeptChoice, MessageError> {
    let kept: KeptChoice = serde_json::from_slice(text).map_err(message::unreadable)?;
    kept.choice.check()?;
    if let Some(seen) = &kept.seen {
        message::check_text(&seen.location)?;
    }
    match kept.choice {
        RequestedServer::Configured => Err(MessageError::BadText),
        _ => Ok(kept),
    }
}

/// The choice of a server that a command asks for.
pub(super) fn meant(to: &RequestedServer) -> ServerChoice {
    match to {
        RequestedServer::Locations(text) => ServerChoice::from_locations(text),
        RequestedServer::Server(cn) => ServerChoice::Server {
            cn: cn.clone(),
            seen: None,
        },
        RequestedServer::Configured => ServerChoice::Unset,
    }
}

impl KeptChoice {
    fn meant(self) -> ServerChoice {
        let mut choice = meant(&self.choice);
        if let (RequestedServer::Server(cn), Some(seen)) = (&self.choice, self.seen) {
            choice.note_seen(cn, seen);
        }
        choice
    }
}

/// A server that was chosen by its name is at this place from now on, whatever later lists name.
pub(super) fn note_seen(joined: &Joined, container: &mut Container, connector: &mut Connector) {
    let choice = &mut container.settings.destination;
    choice.note_seen(&joined.server.cn, joined.seen());
    connector.choose(choice.clone());
}

/// Puts the kept choice, if there is one, in the place of what the variables say; returns the
/// latter.
pub(super) fn apply(container: &mut Container) -> ServerChoice {
    let configured = container.settings.destination.clone();
    if let Some(kept) = read(Path::new(paths::KEPT_CHOICE)) {
        let shown = &kept.choice;
        log::info!("Using the kept choice of a server, {shown}, instead of LOC; {UNDO}");
        container.settings.destination = kept.meant();
    }
    configured
}

/// Whether a kept choice is in force, and the variables name another one.
pub(super) fn has_another(configured: &ServerChoice, container: &Container) -> bool {
    *configured != ServerChoice::Unset && container.settings.destination != *configured
}

/// A kept choice that names no location any more, or a server that is another's, makes way for what
/// the variables say. Whether it did.
pub(super) fn give_up(
    failure: &Failure,
    configured: &ServerChoice,
    container: &mut Container,
) -> bool {
    let is_of_choice = failure.kind == FailureKind::Location;
    if !is_of_choice || !has_another(configured, container) {
        return false;
    }
    let in_force = &mut container.settings.destination;
    log::warn!("The kept choice of a server: {failure}; LOC is used in this life");
    in_force.clone_from(configured);
    true
}

fn read(file: &Path) -> Option<KeptChoice> {
    let (what, path) = ("the choice of a server that was kept", file.display());
    let text = match files::read_stored(file) {
        Ok(text) => text?,
        Err(error) => {
            log::warn!("{what}: {error}; LOC is used");
            return None;
        }
    };
    match parse(text.as_bytes()) {
        Ok(kept) if meant(&kept.choice) == ServerChoice::Unset => {
            log::warn!("{what}, {path}: it names no location; LOC is used");
            None
        }
        Ok(kept) => Some(kept),
        Err(error) => {
            log::warn!("{what}, {path}: {error}; LOC is used");
            None
        }
    }
}

/// Keeps it from now on; where it is of one server, with where that is.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn keep(choice: &RequestedServer, joined: &Joined) -> Result<(), FileError> {
    let file = Path::new(paths::KEPT_CHOICE);
    files::make_directory(Path::new(paths::VOLUME))?;
    let is_server = matches!(choice, RequestedServer::Server(_));
    let kept = KeptChoice {
        choice: choice.clone(),
        seen: is_server.then(|| joined.seen()),
    };
    let text =
        serde_json::to_vec(&kept).map_err(|error| FileError::new("writing", file, error.into()))?;
    files::replace(file, &text, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_choice_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("choice.json");
        assert_eq!(read(&file), None);
        let with = |text: &str| {
            std::fs::write(&file, text).unwrap();
            read(&file)
        };
        let swiss = KeptChoice {
            choice: RequestedServer::Locations("swiss".into()),
            seen: None,
        };
        assert_eq!(with("{\"locations\":\"swiss\"}\n"), Some(swiss));
        for bad in [
            "",
            "swiss",
            "{\"locations\":\",\"}",
            "{\"server\":\"\"}",
            "\"configured\"",
            "{\"configured\":null}",
            "{\"server\":\"x\",\"seen\":{\"location\":\"a\\nb\",\"ip\":\"192.0.2.1\",\
             \"port_forwarding\":true}}",
        ] {
            assert_eq!(with(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_server_is_kept_with_where_it_was_and_may_be_kept_without() {
        let kept = KeptChoice {
            choice: RequestedServer::Server("zurich406".into()),
            seen: Some(SeenServer {
                location: "swiss".into(),
                ip: [192, 0, 2, 1].into(),
                port_forwarding: true,
            }),
        };
        let text = serde_json::to_string(&kept).unwrap();
        assert!(
            text.starts_with(r#"{"server":"zurich406","seen":{"#),
            "{text}"
        );
        assert_eq!(parse(text.as_bytes()).unwrap(), kept);
        let without = parse(br#"{"server":"zurich406"}"#).unwrap();
        assert_eq!((without.choice, without.seen), (kept.choice, None));
    }
}
