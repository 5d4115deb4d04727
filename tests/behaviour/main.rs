//! The tests of the whole program, in a world of network namespaces: run them as root.

#![allow(
    clippy::exit,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

#[path = "../harness/src/netns.rs"]
mod netns;
#[path = "../harness/src/programs.rs"]
mod programs;
#[path = "../harness/src/simulator/mod.rs"]
mod simulator;
#[path = "../harness/src/world/mod.rs"]
mod world;

#[path = "../architecture.rs"]
mod architecture;
mod commands;
mod connect;
mod demo;
mod doctor;
mod failures;
mod firewall;
mod forwarding;
mod health;
mod hooks;
#[path = "../harness/src/world/inspect.rs"]
mod inspect;
mod leaks;
#[path = "../timing/nearest.rs"]
mod nearest;
mod network;
#[path = "../readme.rs"]
mod readme;
mod reconnect;
mod restart;
mod secrets;
mod selftest;
mod soak;
#[path = "../timing/stop.rs"]
mod stop;
