//! Names of network interfaces, as they may stand in settings and in firewall rules.

/// The kernel's limit, which counts the byte that ends the name too.
const MAX_LENGTH: usize = 15;

/// Whether the kernel takes the name and it cannot be read as anything else in a firewall rule.
/// There `eth+` means all interfaces whose names begin so.
pub fn is_valid(name: &str) -> bool {
    (1..=MAX_LENGTH).contains(&name.len())
        && !name.starts_with(['-', '!'])
        && !matches!(name, "." | "..")
        && name
            .chars()
            .all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '"' | '\'' | '\\' | '#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_rule_would_misread_are_refused() {
        for name in ["eth0", "eth+", "br-4fd0", "wlan0.7", "a23456789012345"] {
            assert!(is_valid(name), "{name}");
        }
        for name in [
            "",
            "-x",
            "!x",
            "e'1",
            "e\"1",
            "e#1",
            "e\\1",
            "a/b",
            "a b",
            "ü",
            "..",
            "a234567890123456",
        ] {
            assert!(!is_valid(name), "{name}");
        }
    }
}
