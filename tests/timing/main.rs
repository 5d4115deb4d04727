//! What the program promises to do in time: run as root, one test at a time, on a machine that does
//! nothing else.

#![cfg(test)]

mod limits;
mod nearest;
mod outages;
mod start;
mod stop;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_wireguard-pia");
