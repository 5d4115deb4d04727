//! The rules in real kernels: each test loads them into a network namespace of its own, with both
//! iptables backends. They need root, and fail without it.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod embedded_dns;
mod ipv6;
mod namespace;
mod packets;
mod passing;
mod rules;
