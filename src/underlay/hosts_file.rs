//! `/etc/hosts`, in which users name addresses by hand (`extra_hosts`). Pure: the text comes from
//! the resolver.

use std::net::Ipv4Addr;

/// The IPv4 addresses of `host` in `text`, any case.
pub(super) fn addresses_in(text: &str, host: &str) -> Vec<Ipv4Addr> {
    text.lines()
        .filter_map(|line| address_in(line, host))
        .collect()
}

fn address_in(line: &str, host: &str) -> Option<Ipv4Addr> {
    let mut words = line.split('#').next()?.split_whitespace();
    let address = words.next()?.parse().ok()?;
    words
        .any(|name| name.eq_ignore_ascii_case(host))
        .then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_aliases_are_found() {
        let text = "127.0.0.1\tlocalhost\n::1 www.example.com\n192.0.2.7 example.com \
                    WWW.example.com # www.example.org\n\
                    #192.0.2.8 www.example.com\n192.0.2.9 www.example.com\n";
        let found: Vec<String> = addresses_in(text, "www.example.com")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, ["192.0.2.7", "192.0.2.9"]);
        assert_eq!(
            addresses_in(text, "www.example.org"),
            [Ipv4Addr::UNSPECIFIED; 0]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "(127.0.0.1|#| |\n|\\PC){0,40}") {
            addresses_in(&text, "a");
        }
    }
}
