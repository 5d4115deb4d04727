//! How a running program is steered: commands by hand ask it, over a Unix socket that is root's
//! alone, to do something, and wait for what came of it.
//!
//! A line of JSON goes each way. Nothing here knows what is asked for, or does it.

mod call;
mod client;
pub mod kept_choice;
mod line;
mod listener;
pub mod message;

pub use self::call::ControlCall;
pub use self::client::{AskError, ask};
pub use self::listener::ControlListener;
