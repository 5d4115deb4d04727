//! What the lease machine asks for, and what follows from the answers.

use std::time::Duration;

use crate::failure::Failure;
use crate::pia::lease::Lease;

/// What the user wants of the port.
#[derive(Debug, Clone, Copy)]
pub struct LeaseOptions {
    /// Between two refreshes: `PORT_REBIND_INTERVAL`; a longer one than a binding can do with is
    /// cut.
    pub interval: Duration,
    /// `PORT_FATAL`
    pub fatal: bool,
    /// `RECONNECT`: another server may be asked for.
    pub other_servers: bool,
}

/// What the user wants done now, whatever is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseWish {
    /// Another port in place of this one.
    NewPort,
    /// The port bound again, without waiting for the interval or for a pause.
    Rebind,
}

/// A wish that is neither granted nor denied yet.
#[derive(Debug)]
pub(super) struct OpenWish {
    pub wish: LeaseWish,
    /// The lease of the new port, once there is one.
    pub lease: Option<Lease>,
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Get a new account token.
    LogIn,
    /// Get a new lease.
    Lease,
    /// Bind this lease at the server, or refresh the binding.
    Bind(Lease),
    /// Withdraw the port: its binding must be taken for gone, and the server wants to be left alone
    /// for longer.
    Withdraw,
    /// Say that the loss of the port is fatal now, though there is nothing to ask at this moment.
    DeclareFatal,
    /// Nothing for so long, unless the clock jumps.
    Wait(Duration),
}

/// What follows for others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// This lease is to be stored, so that the port survives a restart.
    Store(Lease),
    /// The server forwards this port to us, as of now: announce it, if that was not done.
    Bound { port: u16 },
    /// It does so no longer: withdraw the port that was announced.
    Withdraw { why: String },
    /// Something failed and is tried again after a pause; at once, if that is zero.
    Failing { failure: Failure, again: Duration },
    /// This server forwards no ports; told once.
    NotHere { why: String },
    /// This server does not let us have a port; another may.
    AskAnotherServer { why: String },
    /// What was wished is done: this port is bound, as was told before this.
    Granted { port: u16 },
    /// It cannot be done; what was before still holds, as far as was told before this.
    Denied { why: String },
    /// What `PORT_FATAL=1` calls fatal; told once for each loss.
    Fatal { why: String },
}
