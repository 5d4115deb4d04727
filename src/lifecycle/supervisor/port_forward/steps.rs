//! The lease machine's words: what it asks for, what it is told, what follows.

use std::time::Duration;

use crate::pia::error::LeaseRefusal;
use crate::pia::lease::Lease;

/// The user's wishes.
#[derive(Debug, Clone, Copy)]
pub struct LeaseOptions {
    /// `PORT_REBIND_INTERVAL`
    pub interval: Duration,
    /// `PORT_FATAL`
    pub fatal: bool,
    /// `RECONNECT`: another server may be asked for.
    pub other_servers: bool,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Get a new account token.
    LogIn,
    /// Get a new lease.
    Sign,
    /// Bind this lease at the server, or refresh the binding.
    Bind(Lease),
    /// Withdraw the port: its binding must be taken for gone, and the server wants to be left alone
    /// for longer.
    Withdraw,
    /// Nothing for so long, unless the clock jumps.
    Wait(Duration),
}

/// Why a lease or a binding was not had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setback {
    /// It may pass; `not_before` if the other side asked for patience.
    Passing {
        why: String,
        not_before: Option<Duration>,
    },
    /// Nobody listens there.
    Closed { why: String },
    /// The server said no.
    Refused { why: String, reason: LeaseRefusal },
}

/// Why there is no new token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginSetback {
    Passing {
        why: String,
        not_before: Option<Duration>,
    },
    /// The credentials are missing or refused.
    Lasting { why: String },
}

/// What follows for the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// This lease is to survive us.
    Keep(Lease),
    /// The server forwards this port to us, as of now: announce it, if that was not done.
    Bound { port: u16 },
    /// It does so no longer: withdraw the port that was announced.
    Withdraw { why: String },
    /// Something failed and is tried again after a pause.
    Failing { why: String, again: Duration },
    /// This server forwards no ports; said once.
    NotHere { why: String },
    /// This server does not let us have a port; another may.
    AskAnotherServer { why: String },
    /// What `PORT_FATAL=1` calls fatal; said once for each loss.
    Fatal { why: String },
}
