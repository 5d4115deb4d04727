//! The format of the log: plain lines, as `docker logs` shows them.

use std::io::Write;

use env_logger::{Builder, Target};
use log::{Level, LevelFilter};

/// What the names of our modules begin with.
const OURS: &str = "wireguard_pia";

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
    if !filter.is_some_and(is_about_us) {
        builder
            .filter_level(LevelFilter::Warn)
            .filter_module(OURS, level);
    }
    if let Some(filter) = filter {
        builder.parse_filters(filter);
    }
    builder.format(|out, record| match record.level() {
        // Libraries log what they send at these levels, passwords and tokens included: RUST_LOG
        // must not show that.
        Level::Debug | Level::Trace if !record.target().starts_with(OURS) => Ok(()),
        Level::Error => writeln!(out, "Error: {}", record.args()),
        Level::Warn => writeln!(out, "Warning: {}", record.args()),
        Level::Info => writeln!(out, "{}", record.args()),
        Level::Debug | Level::Trace => writeln!(out, "debug: {}", record.args()),
    });
    // A second initialisation, as in tests, changes nothing.
    let _ = builder.try_init();
    if let Some(filter) = filter.filter(|filter| !is_about_us(filter)) {
        log::warn!(
            "RUST_LOG: {filter} has no level for this program, such as `debug`; the default is used"
        );
    }
}

/// Whether a filter has a level for us. A slip such as `warning` is the name of a module to it, and
/// would silence all others.
fn is_about_us(filter: &str) -> bool {
    let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
    let is_ours = |name: &str| {
        let name = name.trim();
        !name.is_empty() && (OURS.starts_with(name) || name.starts_with(OURS))
    };
    let levels = filter.split('/').next().unwrap_or_default();
    levels.split(',').any(|part| match part.split_once('=') {
        Some((name, level)) => is_ours(name) && (level.trim().is_empty() || is_level(level)),
        None => is_level(part) || is_ours(part),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_about_us_if_it_has_a_level_for_us() {
        for filter in [
            "debug",
            "OFF",
            " trace ",
            "wireguard_pia",
            "ureq=info,wireguard_pia::pia=debug",
            "warn/password",
        ] {
            assert!(is_about_us(filter), "{filter}");
        }
        for filter in [
            "warning",
            "nonsense=5,,",
            "ureq=debug",
            "wireguard_pia=loud",
            ",",
        ] {
            assert!(!is_about_us(filter), "{filter}");
        }
    }
}
