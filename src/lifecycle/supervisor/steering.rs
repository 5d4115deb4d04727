//! What commands want of the connection, and who waits for it.

use crate::connect::register::Tried;
use crate::control::ControlCall;
use crate::control::message::RequestedServer;
use crate::failure::Failure;
use crate::lifecycle::kept_choice;
use crate::pia::regions::Server;
use crate::settings::ServerChoice;

/// A reconnect that a command asked for.
pub(super) struct SteeredReconnect {
    pub call: ControlCall,
    /// Where to; as before, if that was not said.
    pub to: Option<RequestedServer>,
    pub keep: bool,
    /// What was chosen by before, while it is not yet known whether the new choice leads anywhere.
    pub former: Option<ServerChoice>,
    /// The new choice led nowhere.
    pub is_given_up: bool,
    /// Why no server could be had, the last time.
    pub why_not: Option<String>,
    pub tried: Tried,
}

/// What commands want of the connection.
pub(super) struct Steering {
    /// The choice by the variables.
    pub configured: ServerChoice,
    pub reconnect: Option<SteeredReconnect>,
    /// It names what no list at hand has: newer ones are asked for.
    pub unsure: Option<ControlCall>,
}

impl Steering {
    pub(super) fn new(configured: ServerChoice) -> Self {
        Self {
            configured,
            reconnect: None,
            unsure: None,
        }
    }

    /// Whether somebody waits for a reconnect.
    pub(super) fn is_busy(&self) -> bool {
        let asked = self.reconnect.as_ref().map(|asked| &asked.call);
        let mut waiting = asked.into_iter().chain(&self.unsure);
        waiting.any(|call| !call.is_abandoned())
    }

    /// Whether the reconnect is to where a command says.
    pub(super) fn is_told_where(&self) -> bool {
        let to = self.reconnect.as_ref().and_then(|asked| asked.to.as_ref());
        to.is_some_and(|to| *to != RequestedServer::Configured)
    }

    /// The choice that is meant; or that it names nothing.
    pub(super) fn meant(&self, to: &RequestedServer) -> Result<ServerChoice, String> {
        let choice = match to {
            RequestedServer::Configured => self.configured.clone(),
            to => kept_choice::meant(to),
        };
        match choice {
            ServerChoice::Unset => Err(format!("no location is named by {to}")),
            choice => Ok(choice),
        }
    }

    /// What to choose by where the new choice leads nowhere.
    pub(super) fn fallback(&self) -> Option<ServerChoice> {
        let asked = self.reconnect.as_ref().filter(|asked| !asked.is_given_up)?;
        asked.former.clone()
    }

    pub(super) fn note_failure(&mut self, why: String) {
        if let Some(asked) = &mut self.reconnect {
            asked.why_not = Some(why);
        }
    }

    /// A server took the key, and could not be used.
    pub(super) fn note_tried(&mut self, location: &str, server: &Server, failure: &Failure) {
        if let Some(asked) = &mut self.reconnect {
            asked.why_not = Some(failure.text.clone());
            asked.tried.add(location, server, failure);
        }
    }

    /// Those servers, of the new choice.
    pub(super) fn tried(&self) -> Tried {
        let asked = self.reconnect.as_ref();
        asked.map(|asked| asked.tried.clone()).unwrap_or_default()
    }

    /// Those who wait, whom nobody will answer any more.
    pub(super) fn take_waiting(&mut self) -> Vec<ControlCall> {
        let asked = self.reconnect.take().map(|asked| asked.call);
        asked.into_iter().chain(self.unsure.take()).collect()
    }
}
