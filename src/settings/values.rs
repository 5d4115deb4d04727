//! The kinds of values that variables have: for each kind one place that says what is valid.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::quotes;
use super::read::Value;
use super::variable::Sensitivity;
use crate::system::interface_name;
use crate::system::secret::Secret;

/// A hundred years, which is as good as forever and cannot overflow when times are added up.
const MAX_SECONDS: u64 = 3_153_600_000;

/// A port of TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PortNumber(pub u16);

/// The maximum transmission unit of an interface, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtu(pub u32);

/// How often something is done, at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Times(pub u32);

/// The bits that the mode of a new file does not get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ModeMask(pub u32);

/// Time between repetitions, or a limit of time: zero would make a loop spin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval(pub Duration);

/// Time that may be zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seconds(pub Duration);

/// A name that the kernel gives an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceName(pub String);

/// Where a server of ours listens: `:8000`, `8000`, `192.0.2.1:8000` or `[::1]:8000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenAddress {
    /// `None` for all.
    pub address: Option<IpAddr>,
    pub port: u16,
}

impl ListenAddress {
    /// For clap.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn from_argument(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| format!("expected {}", Self::EXPECTED))
    }
}

impl Value for ListenAddress {
    const EXPECTED: &'static str = "an address and a port such as :8000 or 127.0.0.1:8000";
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let port = PortNumber::parse(text.strip_prefix(':').unwrap_or(text));
        let of_all = port.map(|port| Self {
            address: None,
            port: port.0,
        });
        let of_one = || {
            let whole: SocketAddr = text.parse().ok()?;
            (whole.port() > 0).then(|| Self {
                address: Some(whole.ip()),
                port: whole.port(),
            })
        };
        of_all.or_else(of_one)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

/// The user's own command line or script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShellCode(String);

impl ShellCode {
    /// For a command line that gets another word at its end: a block of YAML ends in a newline,
    /// after which the word would be a command of its own.
    pub fn command_line(variable: &Option<Self>) -> Option<String> {
        let text = Self::text(variable)?;
        let line = text.trim_end();
        // There it stands for a space, or continues the line.
        let is_escaped = line.ends_with('\\');
        Some(if is_escaped { text } else { line.to_owned() })
    }

    /// The text of a variable that may be unset.
    pub fn text(variable: &Option<Self>) -> Option<String> {
        variable.as_ref().map(|code| code.0.clone())
    }
}

/// Who is asked for an answer: an address, or a host's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingTarget(pub String);

/// Text that another program reads, or this one before its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOn(pub String);

/// Whether the text is the name of a domain or host. Digits and dots alone are no such name, but
/// an address that was mistyped.
pub fn is_domain_name(text: &str) -> bool {
    const MAX_LENGTH: usize = 253;
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && label
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    text.len() <= MAX_LENGTH
        && text.contains(|c: char| c.is_ascii_alphabetic())
        && text
            .strip_suffix('.')
            .unwrap_or(text)
            .split('.')
            .all(is_label)
}

impl Value for bool {
    const EXPECTED: &'static str = "0 or 1";
    fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }
}

/// Digits alone: "+5" is no number for us, though `FromStr` takes it.
fn whole<T: FromStr + PartialOrd>(text: &str, range: RangeInclusive<T>) -> Option<T> {
    let text = text.trim();
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| range.contains(number))
}

impl Value for u16 {
    const EXPECTED: &'static str = "a whole number from 0 to 65535";
    fn parse(text: &str) -> Option<Self> {
        whole(text, 0..=Self::MAX)
    }
}

impl Value for u32 {
    const EXPECTED: &'static str = "a whole number from 0 to 4294967295";
    fn parse(text: &str) -> Option<Self> {
        whole(text, 0..=Self::MAX)
    }
}

impl Value for Times {
    const EXPECTED: &'static str = "a whole number from 1 to 4294967295";
    fn parse(text: &str) -> Option<Self> {
        whole(text, 1..=u32::MAX).map(Self)
    }
}

impl Value for PortNumber {
    const EXPECTED: &'static str = "a port from 1 to 65535";
    fn parse(text: &str) -> Option<Self> {
        whole(text, 1..=u16::MAX).map(Self)
    }
}

impl Value for Mtu {
    const EXPECTED: &'static str = "a number of bytes from 576 to 65535";
    fn parse(text: &str) -> Option<Self> {
        whole(text, 576..=65_535).map(Self)
    }
}

impl Value for Interval {
    const EXPECTED: &'static str = "a number of seconds from 1 to 3153600000";
    fn parse(text: &str) -> Option<Self> {
        whole(text, 1..=MAX_SECONDS).map(|seconds| Self(Duration::from_secs(seconds)))
    }
}

impl Value for Seconds {
    const EXPECTED: &'static str = "a number of seconds from 0 to 3153600000";
    fn parse(text: &str) -> Option<Self> {
        whole(text, 0..=MAX_SECONDS).map(|seconds| Self(Duration::from_secs(seconds)))
    }
}

impl Value for ModeMask {
    const EXPECTED: &'static str = "an octal mask such as 022";
    fn parse(text: &str) -> Option<Self> {
        let mask = u32::from_str_radix(text.trim(), 8).ok()?;
        (mask <= 0o777).then_some(Self(mask))
    }
}

impl Value for Ipv4Addr {
    const EXPECTED: &'static str = "an IPv4 address";
    fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok()
    }
}

impl Value for InterfaceName {
    const EXPECTED: &'static str = "the name of an interface";
    fn parse(text: &str) -> Option<Self> {
        let name = text.trim();
        interface_name::is_valid(name).then(|| Self(name.to_owned()))
    }
}

impl Value for String {
    const EXPECTED: &'static str = "text";
    fn parse(text: &str) -> Option<Self> {
        Some(text.trim().to_owned())
    }
}

impl Value for PingTarget {
    const EXPECTED: &'static str = "an IPv4 address or a host's name";
    fn parse(text: &str) -> Option<Self> {
        // Each of several may be quoted, which the whole is not then.
        let target = quotes::enclosed(text).unwrap_or(text).trim();
        let is_valid = target.parse::<Ipv4Addr>().is_ok() || is_domain_name(target);
        is_valid.then(|| Self(target.to_owned()))
    }
}

impl Value for PathBuf {
    const EXPECTED: &'static str = "a path";
    fn parse(text: &str) -> Option<Self> {
        Some(Self::from(text))
    }
}

impl Value for Secret {
    const EXPECTED: &'static str = "text";
    const SENSITIVITY: Sensitivity = Sensitivity::Secret;
    // White space at its ends may belong to it.
    fn parse(text: &str) -> Option<Self> {
        Some(Self::new(text))
    }
}

impl Value for ShellCode {
    const EXPECTED: &'static str = "shell code";
    const SENSITIVITY: Sensitivity = Sensitivity::ShellCode;
    const KEEPS_QUOTES: bool = true;
    fn parse(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

impl Value for PassedOn {
    const EXPECTED: &'static str = "text";
    const KEEPS_QUOTES: bool = true;
    fn parse(text: &str) -> Option<Self> {
        Some(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_numbers_are_strict() {
        assert_eq!(bool::parse("1"), Some(true));
        assert_eq!(bool::parse("yes"), None);
        assert_eq!(<u16 as Value>::parse("65536"), None);
        assert_eq!(<u16 as Value>::parse("+5"), None);
        assert_eq!(<u32 as Value>::parse("-1"), None);
        assert_eq!(<u32 as Value>::parse(""), None);
        assert_eq!(PortNumber::parse("0"), None);
        assert_eq!(Mtu::parse("575"), None);
        assert_eq!(Interval::parse("0"), None);
        assert_eq!(Seconds::parse("0"), Some(Seconds(Duration::ZERO)));
        assert_eq!(Seconds::parse("18446744073709551615"), None);
        assert_eq!(ModeMask::parse("022"), Some(ModeMask(0o22)));
        assert_eq!(ModeMask::parse("9"), None);
    }

    /// The limits of a duration are typed twice: where they are checked and where they are told.
    #[test]
    fn what_is_expected_is_what_is_accepted() {
        for expected in [Interval::EXPECTED, Seconds::EXPECTED] {
            assert!(expected.ends_with(&format!(" {MAX_SECONDS}")), "{expected}");
        }
        assert!(Interval::parse(&MAX_SECONDS.to_string()).is_some());
        assert!(Interval::parse(&(MAX_SECONDS + 1).to_string()).is_none());
    }
}
