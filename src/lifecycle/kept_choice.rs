//! The choice of a server that a command made, and that is kept over restarts: a small file.

use std::path::Path;

use crate::container::Container;
use crate::control::message::{self, RequestedServer};
use crate::failure::{Failure, FailureKind};
use crate::settings::ServerChoice;
use crate::system::files::{self, FileError};
use crate::system::paths;

/// How it is undone.
const UNDO: &str = "`wireguard-pia reconnect --forget` undoes that";

/// The choice of a server that a command asks for.
pub(super) fn meant(to: &RequestedServer) -> ServerChoice {
    match to {
        RequestedServer::Locations(text) => ServerChoice::from_locations(text),
        RequestedServer::Server(cn) => ServerChoice::Server(cn.clone()),
        RequestedServer::Configured => ServerChoice::Unset,
    }
}

/// Puts the kept choice, if there is one, in the place of what the variables say; returns the
/// latter.
pub(super) fn apply(container: &mut Container) -> ServerChoice {
    let configured = container.settings.destination.clone();
    if let Some(kept) = read(Path::new(paths::KEPT_CHOICE)) {
        log::info!("Using the kept choice of a server, {kept}, instead of LOC; {UNDO}");
        container.settings.destination = meant(&kept);
    }
    configured
}

/// A kept choice that names no location any more makes way for what the variables say. Whether it
/// did.
pub(super) fn give_up(
    failure: &Failure,
    configured: &ServerChoice,
    container: &mut Container,
) -> bool {
    let in_force = &mut container.settings.destination;
    let is_of_choice = failure.kind == FailureKind::Location;
    if !is_of_choice || *configured == ServerChoice::Unset || in_force == configured {
        return false;
    }
    log::warn!("The kept choice of a server: {failure}; LOC is used in this life");
    in_force.clone_from(configured);
    true
}

fn read(file: &Path) -> Option<RequestedServer> {
    let (what, path) = ("the choice of a server that was kept", file.display());
    let text = match files::read_if_present(file) {
        Ok(text) => text?,
        Err(error) => {
            log::warn!("{what}: {error}; LOC is used");
            return None;
        }
    };
    match message::parse_kept(text.as_bytes()) {
        Ok(kept) if meant(&kept) == ServerChoice::Unset => {
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

/// Keeps it from now on.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn keep(choice: &RequestedServer) -> Result<(), FileError> {
    let file = Path::new(paths::KEPT_CHOICE);
    files::make_directory(Path::new(paths::VOLUME))?;
    let text = serde_json::to_vec(choice)
        .map_err(|error| FileError::new("writing", file, error.into()))?;
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
        let swiss = RequestedServer::Locations("swiss".into());
        assert_eq!(with("{\"locations\":\"swiss\"}\n"), Some(swiss));
        for bad in [
            "",
            "swiss",
            "{\"locations\":\",\"}",
            "{\"server\":\"\"}",
            "\"configured\"",
        ] {
            assert_eq!(with(bad), None, "{bad}");
        }
    }
}
