//! What the program does, seen from outside, in a world of network namespaces: run them as root.
//!
//! These tests run beside each other on machines that may be busy. So nothing in them is to happen
//! within less than 20 seconds; what the program promises to do in time is in the tests of timing.

#![cfg(test)]

mod adversity;
mod anchor;
mod asked;
mod attached;
mod carried;
mod commands;
mod connect;
mod demo;
mod doctor;
mod examples;
mod exit_address;
mod failures;
mod firewall;
mod forwarding;
mod gateway;
mod health;
mod hooks;
mod lan;
mod leaks;
mod loads;
mod matrix;
mod network;
mod own_modes;
mod people;
mod reconnect;
mod rest;
mod restart;
mod secrets;
mod selftest;
mod sides;
mod soak;
mod status_server;
mod steering;
mod whole_lan;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_wireguard-pia");
