//! From the text of a variable to its value, with a warning where they do not agree.

use super::quotes;
use super::variable::{Sensitivity, Variable};
use super::warning::Warning;

/// A kind of values that a variable, or each part of a list, can have.
pub trait Value: Sized {
    /// What the user should have written, to follow the word "expected".
    const EXPECTED: &'static str;
    /// Whether such values may be shown.
    const SENSITIVITY: Sensitivity = Sensitivity::Plain;
    /// Whether quotes around the text are left to whoever reads it.
    const KEEPS_QUOTES: bool = false;
    /// `None` when the text is no such value.
    fn parse(text: &str) -> Option<Self>;
}

/// What the value of a variable can be read as. `T` where the variable has a default, `Option<T>`
/// where it has none, `Vec<T>` for lists.
pub trait Read: Sized {
    /// Whether such values may be shown.
    const SENSITIVITY: Sensitivity = Sensitivity::Plain;
    /// Whether quotes around the text are left to whoever reads it.
    const KEEPS_QUOTES: bool = false;
    /// The value of `text`, or what holds where that is `None` or makes no sense.
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self;
}

/// Reads the text of a variable, `None` where it is unset.
pub(super) fn read<T: Read>(
    text: Option<&str>,
    variable: &Variable,
    warnings: &mut Vec<Warning>,
) -> T {
    let text = text.map(|text| {
        if T::SENSITIVITY == Sensitivity::ShellCode {
            quotes::told_of(text, variable, warnings);
        }
        if T::KEEPS_QUOTES {
            text
        } else {
            quotes::taken_off(text, variable, warnings)
        }
    });
    // What was quoted may be nothing.
    let text = text.filter(|text| !text.trim().is_empty());
    T::read(text, variable, warnings)
}

impl<T: Value + Default> Read for T {
    const SENSITIVITY: Sensitivity = T::SENSITIVITY;
    const KEEPS_QUOTES: bool = T::KEEPS_QUOTES;

    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let default = variable.default.unwrap_or_default();
        let given = text.and_then(|text| {
            let value = T::parse(text);
            if value.is_none() {
                let consequence = format!("the default, {default}, is used");
                warnings.push(variable.unfit(text, T::EXPECTED, consequence));
            }
            value
        });
        given.or_else(|| T::parse(default)).unwrap_or_else(|| {
            // The entry itself is wrong; the tests fail where one is.
            warnings.push(variable.unfit(default, T::EXPECTED, "it is ignored"));
            T::default()
        })
    }
}

impl<T: Value> Read for Option<T> {
    const SENSITIVITY: Sensitivity = T::SENSITIVITY;
    const KEEPS_QUOTES: bool = T::KEEPS_QUOTES;

    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let text = text?;
        let value = T::parse(text);
        if value.is_none() {
            warnings.push(variable.unfit(text, T::EXPECTED, "it is ignored"));
        }
        value
    }
}

impl<T: Value> Read for Vec<T> {
    const SENSITIVITY: Sensitivity = T::SENSITIVITY;
    const KEEPS_QUOTES: bool = T::KEEPS_QUOTES;

    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let mut read_all = |text| {
            let mut values = Self::new();
            for part in list(text) {
                match T::parse(part) {
                    Some(value) => values.push(value),
                    None => warnings.push(variable.unfit(part, T::EXPECTED, "it is left out")),
                }
            }
            values
        };
        let default = variable.default.unwrap_or_default();
        let Some(text) = text else {
            return read_all(default);
        };
        let values = read_all(text);
        if !values.is_empty() || default.is_empty() {
            return values;
        }
        let consequence = format!("the default, {default}, is used");
        let values = read_all(default);
        warnings.push(variable.warning("nothing is left of it", consequence));
        values
    }
}

/// The parts of a list: separated by commas and white space.
pub fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c == ',' || c.is_whitespace())
        .filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_split_at_commas_and_white_space() {
        assert_eq!(
            list(" a, b\tc,,d\n").collect::<Vec<_>>(),
            ["a", "b", "c", "d"]
        );
    }
}
