//! The settings in force, as one line for the log.

use super::environment::Environment;
use super::variables::{NAMES, SECRETS, SHELL_CODE};

/// `LOC=swiss PASS=*** PRE_UP=(12 characters)`: what is set, in the contract's order.
pub(super) fn describe(environment: &Environment) -> String {
    let set: Vec<String> = NAMES
        .iter()
        .filter_map(|name| {
            let variable = name.to_uppercase();
            let value = environment.text(&variable)?;
            Some(if SECRETS.contains(name) {
                format!("{variable}=***")
            } else if SHELL_CODE.contains(name) {
                format!("{variable}=({} characters)", value.chars().count())
            } else {
                format!("{variable}={}", value.escape_debug())
            })
        })
        .collect();
    if set.is_empty() {
        "all defaults".into()
    } else {
        set.join(" ")
    }
}
