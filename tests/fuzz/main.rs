//! Fuzzing on stable Rust: bytes from outside, changed at random, into every reader of such bytes.
//!
//! Each test is a target: its examples lie in `corpus/TARGET`, and it says what must hold whatever
//! comes in. A case follows from its seed alone. `scripts/fuzz` runs a target for longer.

#![cfg(test)]
#![allow(
    clippy::string_slice,
    reason = "a text that is cut within a character fails the test"
)]

mod answers;
mod control;
mod engine;
mod mutator;
mod network;
mod property;
mod settings;
mod status_server;
mod system;
