//! The `Retry-After` header: how long a server asks to be left alone. Pure.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::{Duration, SystemTime};

/// A longer pause is cut: a mistaken header must not keep the program from ever asking again.
pub(super) const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// The pause from `now` on, for either form of the header: seconds or a date. `None` for anything
/// else.
pub(super) fn parse(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let pause = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit is a long pause, too.
        value.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        parse_date(value)?.duration_since(now).unwrap_or_default()
    };
    Some(pause.min(MAX_RETRY_AFTER))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`, the one form that servers still send (RFC 9110).
fn parse_date(text: &str) -> Option<SystemTime> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_weekday, day, month, year, time, "GMT"] = words.as_slice() else {
        return None;
    };
    let (month, _) = (1..).zip(MONTHS).find(|(_, name)| name == month)?;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day}T{time}Z")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 08:49:37 on 6 November 1994.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777)
    }

    fn seconds(value: &str) -> Option<u64> {
        parse(value, now()).map(|pause| pause.as_secs())
    }

    #[test]
    fn seconds_and_dates() {
        assert_eq!(seconds(" 120 "), Some(120));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:47 GMT"), Some(10));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:07 GMT"), Some(0));
    }

    #[test]
    fn an_hour_is_the_longest() {
        for long in ["3601", "31536000", "18446744073709551616"] {
            assert_eq!(seconds(long), Some(3600), "{long}");
        }
        assert_eq!(seconds("Fri, 31 Dec 9999 23:59:59 GMT"), Some(3600));
    }

    #[test]
    fn anything_else_is_none() {
        for odd in [
            "",
            "-1",
            "1.5",
            "soon",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "06 Nov",
        ] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_header_leads_to_a_longer_pause_or_to_a_panic(
            value in "[0-9]{0,40}|(Sun, |[0-9]{1,20}| |Nov|:|GMT|\\PC){0,12}",
            now in any::<u32>(),
        ) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.into());
            prop_assert!(parse(&value, now).is_none_or(|pause| pause <= MAX_RETRY_AFTER));
        }

        #[test]
        fn any_number_of_seconds_is_obeyed_up_to_an_hour(number in any::<u64>()) {
            prop_assert_eq!(seconds(&number.to_string()), Some(number.min(3600)));
        }
    }
}
