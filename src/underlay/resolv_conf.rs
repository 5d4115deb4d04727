//! Writing the VPN's name servers into `/etc/resolv.conf` while the tunnel is up, and restoring it.
//!
//! In a container it is a bind mount: it can be written but not replaced. The former content stays
//! in it as comments, so that a later life in the same pod, which finds our file and nothing else,
//! still knows the original name servers.

use std::net::IpAddr;
use std::path::Path;

use crate::system::files::{self, FileError};

/// The first line of a file that we wrote.
const HEADER: &str = "# Written by wireguard-pia: the VPN's name servers. The former content \
                      follows behind \"#| \".";
const KEPT: &str = "#| ";
/// In user-defined networks Docker answers there itself.
const DOCKERS_RESOLVER: &str = "127.0.0.11";

/// Writes the VPN's name servers and search domains over the file at `path`, keeping what it said
/// before. Idempotent.
pub fn take_over(path: &Path, servers: &[IpAddr], search: &[String]) -> Result<(), FileError> {
    let former = files::read_shared(path)?.unwrap_or_default();
    files::write_in_place(path, render(servers, search, &former).as_bytes())
}

/// Takes out the name servers that an engine put beside `servers` or in their place, and returns
/// them. Podman puts that of a network that it attaches first, in a file written anew; Docker
/// writes the file over with its own where a container of the default bridge is attached to a
/// user-defined network (20.10, and later ones that cannot see that the file was changed). Where
/// others are named instead of `servers`, the file is the user's.
pub fn reclaim(
    path: &Path,
    servers: &[IpAddr],
    search: &[String],
) -> Result<Vec<String>, FileError> {
    let text = files::read_shared(path)?.unwrap_or_default();
    let named: Vec<&str> = text.lines().filter_map(name_server).collect();
    let is_vpns = |name: &str| servers.iter().any(|server| server.to_string() == name);
    let all_named = servers
        .iter()
        .all(|server| named.contains(&server.to_string().as_str()));
    let others: Vec<String> = named
        .iter()
        .filter(|name| !is_vpns(name))
        .map(|name| (*name).to_owned())
        .collect();
    if named == [DOCKERS_RESOLVER] && !others.is_empty() {
        take_over(path, servers, search)?;
        return Ok(others);
    }
    if all_named && !others.is_empty() {
        let former: Vec<&str> = text
            .split('\n')
            .filter(|line| !name_server(line).is_some_and(is_vpns))
            .collect();
        let text = render(servers, search, &former.join("\n"));
        files::write_in_place(path, text.as_bytes())?;
        return Ok(others);
    }
    Ok(Vec::new())
}

fn name_server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    words.next().filter(|word| *word == "nameserver")?;
    words.next()
}

/// Writes the former content back, if the file is ours.
pub fn restore(path: &Path) -> Result<(), FileError> {
    let Some(text) = files::read_shared(path)?.filter(|text| is_ours(text)) else {
        return Ok(());
    };
    files::write_in_place(path, original_of(&text).as_bytes())
}

/// What the file at `path` said before we took it over, or says, if we have not. Empty where there
/// is no file.
pub fn original(path: &Path) -> Result<String, FileError> {
    Ok(original_of(&files::read_shared(path)?.unwrap_or_default()))
}

/// The former content kept in our own file; any other file is its own former content.
pub fn original_of(text: &str) -> String {
    if !is_ours(text) {
        return text.to_owned();
    }
    let kept: Vec<&str> = text
        .split('\n')
        .filter_map(|line| line.strip_prefix(KEPT))
        .collect();
    kept.join("\n")
}

fn is_ours(text: &str) -> bool {
    text.lines().next() == Some(HEADER)
}

fn render(servers: &[IpAddr], search: &[String], former: &str) -> String {
    let mut lines = vec![HEADER.to_owned()];
    lines.extend(servers.iter().map(|server| format!("nameserver {server}")));
    if !search.is_empty() {
        lines.push(format!("search {}", search.join(" ")));
    }
    lines.extend(
        original_of(former)
            .split('\n')
            .map(|line| format!("{KEPT}{line}")),
    );
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;

    fn servers() -> Vec<IpAddr> {
        vec!["10.0.0.243".parse().unwrap(), "10.0.0.242".parse().unwrap()]
    }

    #[test]
    fn the_vpn_servers_are_named_and_the_former_are_comments() {
        let text = render(
            &servers(),
            &["lan".into()],
            "nameserver 127.0.0.11\noptions ndots:0\n",
        );
        let active: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            active,
            [
                "nameserver 10.0.0.243",
                "nameserver 10.0.0.242",
                "search lan"
            ]
        );
        assert_eq!(
            original_of(&text),
            "nameserver 127.0.0.11\noptions ndots:0\n"
        );
    }

    #[test]
    fn the_file_is_written_in_place_and_restored() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        fs::write(&path, "nameserver 9.9.9.9\n").unwrap();
        take_over(&path, &servers(), &[]).unwrap();
        take_over(&path, &servers(), &[]).unwrap();
        assert_eq!(original(&path).unwrap(), "nameserver 9.9.9.9\n");
        for _ in 0..2 {
            restore(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 9.9.9.9\n");
        }
    }

    #[test]
    fn what_an_engine_names_is_taken_out_and_becomes_the_former_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let active = || {
            let text = fs::read_to_string(&path).unwrap();
            let named = text.lines().filter_map(name_server);
            named.map(str::to_owned).collect::<Vec<_>>()
        };
        let reclaimed = || reclaim(&path, &servers(), &[]).unwrap();
        fs::write(&path, "nameserver 9.9.9.9\n").unwrap();
        take_over(&path, &servers(), &[]).unwrap();
        assert_eq!(reclaimed(), [""; 0]);
        let text = fs::read_to_string(&path).unwrap();
        for (added, former) in [
            (
                format!("{text}nameserver 1.1.1.1\n"),
                "nameserver 9.9.9.9\n",
            ),
            (
                "nameserver 1.1.1.1\nnameserver 10.0.0.243\nnameserver 10.0.0.242\n".to_owned(),
                "nameserver 1.1.1.1\n",
            ),
        ] {
            fs::write(&path, added).unwrap();
            assert_eq!(reclaimed(), ["1.1.1.1"]);
            assert_eq!(active(), ["10.0.0.243", "10.0.0.242"]);
            assert_eq!(original(&path).unwrap(), former);
        }
        fs::write(&path, "nameserver 1.1.1.1\n").unwrap();
        assert_eq!(reclaimed(), [""; 0]);
        assert_eq!(active(), ["1.1.1.1"]);
        let dockers = "search lan\nnameserver 127.0.0.11\noptions ndots:0\n";
        fs::write(&path, dockers).unwrap();
        assert_eq!(reclaimed(), ["127.0.0.11"]);
        assert_eq!(active(), ["10.0.0.243", "10.0.0.242"]);
        assert_eq!(original(&path).unwrap(), dockers);
    }

    #[test]
    fn a_missing_file_was_empty() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(original(&directory.path().join("resolv.conf")).unwrap(), "");
    }

    proptest! {
        #[test]
        fn any_content_comes_back_as_it_was(former in "(nameserver|#|\\||\r|\n|\\PC){0,60}") {
            let once = render(&servers(), &[], &former);
            let twice = render(&servers(), &["lan".to_owned()], &once);
            prop_assert_eq!(original_of(&once), original_of(&former));
            prop_assert_eq!(original_of(&twice), original_of(&former));
        }
    }
}
