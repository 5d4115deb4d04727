//! Passwords, tokens and keys: values that no log line and no error message may show, also where
//! others send them back to us.

use std::fmt;

use super::masking;

/// Text that masks itself wherever it is printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that sends or stores it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the secret masked, however it is encoded: for what others
    /// say, who may say it back to us.
    pub fn masked_in(&self, text: &str) -> String {
        masking::mask(&self.0, text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE};
    use proptest::prelude::*;

    #[test]
    fn it_is_never_printed() {
        let secret = Secret::new("hunter22");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "*** *** Some(***)"
        );
        assert_eq!(
            secret.masked_in("no such token hunter22!"),
            "no such token ***!"
        );
    }

    #[test]
    fn a_secret_in_another_encoding_is_masked_too() {
        let secret = Secret::new(r#"Pa5 +w&"\<ü/="#);
        for encoded in [
            "Pa5%20%2Bw%26%22%5C%3C%C3%BC%2F%3D",
            "Pa5+%2bw%26%22%5c%3c%c3%bc%2f%3d",
            "Pa5%2520%252Bw%2526%2522%255C%253C%25C3%25BC%252F%253D",
            r#"Pa5 +w&\"\\<ü\/="#,
            r#"Pa5 +w\u0026\"\\\u003c\u00FC/="#,
            "Pa5 +w&amp;&quot;\\&lt;ü/=",
            "Pa5 +w&#38;&#34;&#x5C;&#x3c;&#252;&#47;&#61;",
        ] {
            assert_eq!(
                secret.masked_in(&format!("a={encoded}&b")),
                "a=***&b",
                "{encoded}"
            );
        }
    }

    #[test]
    fn the_beginning_of_a_long_secret_is_masked() {
        let secret = Secret::new("0123456789abcdef");
        assert_eq!(secret.masked_in("it was 01234567..."), "it was ***...");
        assert_eq!(secret.masked_in("it was 0123456..."), "it was 0123456...");
        assert_eq!(
            secret.masked_in("0123456789abc 0123456789abcdef"),
            "*** ***"
        );
        // A short one counts as a whole only.
        assert_eq!(Secret::new("hunter").masked_in("hunt hunter"), "hunt ***");
        assert_eq!(Secret::new("abc").masked_in("abc"), "abc");
    }

    #[test]
    fn surrogate_pairs_and_broken_escapes_are_survived() {
        let secret = Secret::new("key\u{1f511}key");
        assert_eq!(secret.masked_in(r"x key\ud83d\udd11key"), "x ***");
        for odd in [
            "key\\",
            "key\\u",
            "key\\ud83d\\u00",
            "key%",
            "key%f0%9f",
            "key&#x;",
            "key&",
        ] {
            assert_eq!(secret.masked_in(odd), odd);
        }
    }

    proptest! {
        #[test]
        fn base64_that_holds_it_does_not_show_it(
            before in ".{0,5}", secret in "[ -~]{8,40}", after in ".{0,5}",
        ) {
            let text = format!("{before}{secret}{after}");
            let secret = Secret::new(secret);
            for encoded in [BASE64_STANDARD.encode(&text), BASE64_URL_SAFE.encode(&text)] {
                let masked = secret.masked_in(&encoded);
                // The few characters at its ends that it shares with its neighbours may stay.
                prop_assert!(masked.contains("***"), "{}", masked);
                let shown: Vec<&str> = masked.split("***").collect();
                prop_assert!(
                    shown.iter().all(|part| part.len() <= 4 * before.len().max(after.len()) + 4),
                    "{}", masked
                );
            }
        }

        #[test]
        fn any_text_is_survived_and_says_no_more_than_before(
            secret in "[^*]{0,20}", text in "(\\\\|%|&|#|u|[0-9a-f]|;|\\PC){0,60}",
        ) {
            let secret = Secret::new(secret);
            let masked = secret.masked_in(&format!("{text}{}{text}", secret.expose()));
            if secret.expose().len() >= 4 {
                prop_assert!(!masked.contains(secret.expose()) || "***".contains(secret.expose()));
            }
        }
    }
}
