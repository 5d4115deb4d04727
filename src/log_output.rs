//! How the log looks: plain lines on standard output, as `docker logs` shows them.

use std::io::Write;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

use crate::settings::Environment;

/// Sets the logger up: `RUST_LOG` as env_logger takes it, else debug with any `DEBUG`, else info.
pub fn init(environment: &Environment, target: Target) {
    let mut builder = Builder::new();
    let level = if environment.text("DEBUG").is_some() {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    };
    builder.target(target);
    match environment.text("RUST_LOG") {
        Some(filter) => builder.parse_filters(filter),
        None => builder
            .filter_level(LevelFilter::Warn)
            .filter_module("wireguard_pia", level),
    };
    builder.format(|out, record| match record.level() {
        // Libraries trace what they send, passwords and tokens included: not even RUST_LOG shows
        // that.
        Level::Debug | Level::Trace if !record.target().starts_with("wireguard_pia") => Ok(()),
        Level::Error => writeln!(out, "Error: {}", record.args()),
        Level::Warn => writeln!(out, "Warning: {}", record.args()),
        Level::Info => writeln!(out, "{}", record.args()),
        Level::Debug | Level::Trace => writeln!(out, "debug: {}", record.args()),
    });
    // A second initialisation, as in tests, changes nothing.
    let _ = builder.try_init();
}
