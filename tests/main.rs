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

mod netns;
mod simulator;
mod world;

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
mod inspect;
mod leaks;
mod nearest;
mod network;
mod readme;
mod reconnect;
mod restart;
mod secrets;
mod selftest;
mod soak;
mod stop;
