//! The format of the log: plain lines, as `docker logs` shows them.

use std::io::Write;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

/// Sets the logger up: by `filter` in env_logger's form (`RUST_LOG`), else at debug level if
/// `debug` is set (`DEBUG`), else at info level.
pub fn init(filter: Option<&str>, debug: bool, target: Target) {
    let mut builder = Builder::new();
    let level = if debug {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    };
    builder.target(target);
    match filter {
        Some(filter) => builder.parse_filters(filter),
        None => builder
            .filter_level(LevelFilter::Warn)
            .filter_module("wireguard_pia", level),
    };
    builder.format(|out, record| match record.level() {
        // Libraries log what they send at these levels, passwords and tokens included: RUST_LOG
        // must not show that.
        Level::Debug | Level::Trace if !record.target().starts_with("wireguard_pia") => Ok(()),
        Level::Error => writeln!(out, "Error: {}", record.args()),
        Level::Warn => writeln!(out, "Warning: {}", record.args()),
        Level::Info => writeln!(out, "{}", record.args()),
        Level::Debug | Level::Trace => writeln!(out, "debug: {}", record.args()),
    });
    // A second initialisation, as in tests, changes nothing.
    let _ = builder.try_init();
}
