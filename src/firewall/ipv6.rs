//! Shutting IPv6 off where ip6tables does not work: none of it goes into the tunnel, so none may
//! leave at all.

use std::fs;
use std::path::Path;

use super::routing_block;
use super::tables::Family;

// Of this thread's network namespace.
const SETTINGS: &str = "/proc/sys/net/ipv6/conf";

/// Shuts IPv6 off: by the kernel's setting where it may be written, else by a routing rule that
/// drops whatever is not for this network namespace itself. Multicast on the link is not routed and
/// passes that rule.
///
/// # Errors
/// Says in words why it is still open.
pub(super) fn shut_off() -> Result<(), String> {
    if is_off(Path::new(SETTINGS)) || routing_block::is_there(Family::V6) {
        return Ok(());
    }
    switch_off(Path::new(SETTINGS));
    if is_off(Path::new(SETTINGS)) {
        log::warn!("ip6tables does not work: IPv6 is switched off (disable_ipv6)");
        return Ok(());
    }
    routing_block::block(Family::V6).map_err(|error| error.to_string())?;
    log::warn!("ip6tables does not work: IPv6 is blocked by a routing rule instead");
    Ok(())
}

/// Whether no interface but lo has IPv6, nor will one that comes later.
fn is_off(settings: &Path) -> bool {
    let mut names = interfaces(settings);
    names.push("default".to_owned());
    names.iter().all(|name| {
        let value = fs::read_to_string(settings.join(name).join("disable_ipv6"));
        value.is_ok_and(|value| value.trim() == "1")
    })
}

fn switch_off(settings: &Path) {
    let mut names = interfaces(settings);
    names.push("default".to_owned());
    for name in names {
        // Whether it helped is looked at afterwards: in most containers it cannot be written.
        let _ = fs::write(settings.join(name).join("disable_ipv6"), "1");
    }
}

/// All but lo, which may keep it.
fn interfaces(settings: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(settings).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !["all", "default", "lo"].contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_interface_but_lo_has_to_be_off_and_those_to_come() {
        let directory = tempfile::tempdir().unwrap();
        let set = |name: &str, value: &str| {
            let folder = directory.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("disable_ipv6"), value).unwrap();
        };
        for (name, value) in [
            ("all", "0\n"),
            ("lo", "0\n"),
            ("default", "1\n"),
            ("eth0", "1\n"),
        ] {
            set(name, value);
        }
        assert!(is_off(directory.path()));
        set("eth0", "0\n");
        assert!(!is_off(directory.path()));
        switch_off(directory.path());
        assert!(is_off(directory.path()));
        assert_eq!(
            fs::read(directory.path().join("lo/disable_ipv6")).unwrap(),
            b"0\n"
        );
        set("default", "0\n");
        assert!(!is_off(directory.path()));
    }
}
