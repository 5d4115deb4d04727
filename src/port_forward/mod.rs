//! A forwarded port, kept for as long as this runs: leased, bound at the server of the tunnel, and
//! bound anew every quarter of an hour.
//!
//! `lease_machine` decides, without a clock or a socket; `worker` asks the server and hands the
//! effects to a callback. Whoever runs it, the container or the command by hand, decides what
//! becomes of them: nothing here knows of firewalls, port files or hooks.

mod attempts;
pub mod gateway_discovery;
mod lease_file;
mod lease_machine;
#[cfg(test)]
mod lease_machine_properties;
#[cfg(test)]
mod lease_machine_tests;
pub mod listening;
mod loss;
mod other_servers;
mod step;
mod timekeeper;
mod worker;

pub use self::lease_file::LeaseFile;
pub use self::lease_machine::{LeaseMachine, MAX_HELD};
pub use self::step::{Effect, LeaseOptions, LeaseWish};
pub use self::worker::{PortService, Worker};
