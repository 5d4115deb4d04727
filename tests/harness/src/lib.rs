//! The world that the tests of the whole program take place in, and the demonstrations too.
//!
//! - [`world`]: networks around a container, an internet with hosts in it, what can be seen of all
//!   that from outside, and what can go wrong with it.
//! - [`simulator`]: Private Internet Access, which is on that internet.
//! - [`netns`]: the network namespaces that both are made of.
//! - [`programs`]: those of this workspace that tests start.
//! - [`waiting`]: how long tests wait, and for what.
//! - [`by_hand`]: a host where the program is used by hand.
//! - [`log_lines`]: what the program says and tests wait for.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

pub mod by_hand;
pub mod log_lines;
pub mod netns;
pub mod programs;
pub mod simulator;
pub mod waiting;
pub mod world;
