//! The rules in real kernels: each test loads them into a network namespace of its own, with both
//! iptables backends. They need root, and fail without it.

#![cfg(test)]

mod changes;
mod embedded_dns;
mod ipv6;
mod lan;
mod namespace;
mod packets;
mod passing;
mod rules;
mod wire;
