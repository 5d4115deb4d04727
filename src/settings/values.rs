//! The kinds of values that variables have, and what is said of those that do not parse.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// `0` or `1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

/// An octal file mode mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask(pub u32);

/// How a value of this kind is read, and what a bad one should have been.
pub trait Value: Sized {
    /// What the user should have written.
    const EXPECTED: &'static str;
    /// `None` when the text is not such a value.
    fn parse(text: &str) -> Option<Self>;
}

impl Value for Flag {
    const EXPECTED: &'static str = "expected 0 or 1";
    fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self(false)),
            "1" => Some(Self(true)),
            _ => None,
        }
    }
}

impl Value for Mask {
    const EXPECTED: &'static str = "expected an octal mask such as 022";
    fn parse(text: &str) -> Option<Self> {
        u32::from_str_radix(text, 8)
            .ok()
            .filter(|mask| *mask <= 0o777)
            .map(Self)
    }
}

impl Value for Ipv4Addr {
    const EXPECTED: &'static str = "expected an IPv4 address";
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

// Not `FromStr` for all: "+5" is no decimal integer for us.
fn decimal<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl Value for u16 {
    const EXPECTED: &'static str = "expected a whole number from 0 to 65535";
    fn parse(text: &str) -> Option<Self> {
        decimal(text)
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "expected a whole number from 0 to 4294967295";
    fn parse(text: &str) -> Option<Self> {
        decimal(text)
    }
}

impl Value for u64 {
    const EXPECTED: &'static str = "expected a whole number, zero or more";
    fn parse(text: &str) -> Option<Self> {
        decimal(text)
    }
}

/// One variable that could not be taken as it was.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Warning {
    /// The variable's name.
    pub variable: String,
    /// What is wrong and what was done instead.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.variable, self.message)
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
    fn flags_and_numbers_are_strict() {
        assert_eq!(Flag::parse("1"), Some(Flag(true)));
        assert_eq!(Flag::parse("yes"), None);
        assert_eq!(<u16 as Value>::parse("65536"), None);
        assert_eq!(<u16 as Value>::parse("+5"), None);
        assert_eq!(<u64 as Value>::parse("-1"), None);
        assert_eq!(<u64 as Value>::parse(""), None);
        assert_eq!(Mask::parse("022"), Some(Mask(0o22)));
        assert_eq!(Mask::parse("9"), None);
    }

    #[test]
    fn lists_are_split_at_commas_and_white_space() {
        assert_eq!(
            list(" a, b\tc,,d\n").collect::<Vec<_>>(),
            ["a", "b", "c", "d"]
        );
    }
}
