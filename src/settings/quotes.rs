//! Quotes around a whole value. They are part of it where compose's list form has them:
//! `- LOC="swiss"`.

use super::variable::{Sensitivity, Variable};
use super::warning::Warning;

const PROBLEM: &str = "there are quotes around the value";

/// What one pair of quotes encloses, if they enclose all of the text.
pub fn enclosed(text: &str) -> Option<&str> {
    let text = text.trim();
    ['"', '\''].into_iter().find_map(|quote| {
        let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then_some(inner)
    })
}

/// The value without quotes around it, and a warning that they were there.
pub(super) fn taken_off<'a>(
    text: &'a str,
    variable: &Variable,
    warnings: &mut Vec<Warning>,
) -> &'a str {
    let Some(inner) = enclosed(text) else {
        return text;
    };
    let consequence = if variable.sensitivity == Sensitivity::Secret {
        "they are taken off. If they belong to it, write it to a file and name that instead"
    } else {
        "they are taken off"
    };
    warnings.push(variable.warning(PROBLEM, consequence));
    inner
}

/// Quotes may be meant in shell code, as around a path with a space. Where they cannot be, bash
/// will find no such program, and this says why.
pub(super) fn told_of(code: &str, variable: &Variable, warnings: &mut Vec<Warning>) {
    let is_a_command = |inner: &str| !inner.starts_with('/') && inner.contains(char::is_whitespace);
    if enclosed(code).is_some_and(is_a_command) {
        warnings.push(variable.warning(
            "there are quotes around all of it, so bash takes it for the name of one program",
            "it is run as it is",
        ));
    }
}
