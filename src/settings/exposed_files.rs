//! Files with a secret that everybody can read.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use super::credential_sources::SECRETS;
use super::variable::Variable;
use super::variables::{Variables, entry};
use super::warning::Warning;
use crate::system::files;

/// A warning for each. User names are no secrets.
pub(super) fn warnings(all: &Variables) -> Vec<Warning> {
    let named: [(&Option<PathBuf>, &Variable); 8] = [
        (&all.pass_file, &entry::pass_file),
        (&all.status_key_file, &entry::status_key_file),
        (&all.qbittorrent_pass_file, &entry::qbittorrent_pass_file),
        (&all.transmission_pass_file, &entry::transmission_pass_file),
        (&all.deluge_pass_file, &entry::deluge_pass_file),
        (&all.rtorrent_pass_file, &entry::rtorrent_pass_file),
        (&all.slskd_api_key_file, &entry::slskd_api_key_file),
        (&all.port_http_header_file, &entry::port_http_header_file),
    ];
    named
        .into_iter()
        .filter_map(|(file, variable)| exposed(file.as_deref()?, variable))
        .collect()
}

/// With secrets of engines nothing can be done about it. What holds no secret, a folder or an
/// empty file, is not used.
fn exposed(file: &Path, variable: &Variable) -> Option<Warning> {
    let whole = file.canonicalize().ok()?;
    let holds_something = |found: Metadata| found.is_file() && found.len() > 0;
    if !whole.metadata().is_ok_and(holds_something) {
        return None;
    }
    if whole.starts_with(SECRETS) || !files::is_readable_by_all(&whole) {
        return None;
    }
    let problem = format!(
        "everybody can read {}",
        variable.shown(&file.to_string_lossy())
    );
    let consequence = "it is used all the same: `chmod 600` it, or mount it with such a mode";
    Some(variable.warning(problem, consequence))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use crate::settings::variables::ALL;
    use crate::settings::{Environment, Settings};

    /// Files that hold no secret.
    const OPEN: [&str; 7] = [
        "USER_FILE",
        "QBITTORRENT_USER_FILE",
        "TRANSMISSION_USER_FILE",
        "RTORRENT_USER_FILE",
        "PORT_FILE",
        "PIA_CA_FILE",
        "PIA_SERVERLIST_KEY_FILE",
    ];

    #[test]
    fn a_folder_or_an_empty_file_is_not_said_to_be_used() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let empty = folder.path().join("empty");
        fs::write(&empty, "").unwrap();
        fs::set_permissions(&empty, Permissions::from_mode(0o644)).unwrap();
        for path in [folder.path(), &empty] {
            let mut environment = Environment::default();
            environment.set("PASS_FILE", path);
            assert_eq!(Settings::from_environment(&environment).1, []);
        }
    }

    #[test]
    fn each_variable_that_names_a_file_with_a_secret_is_looked_after() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "hunter2").unwrap();
        let warned = |name: &str, mode| {
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            let mut environment = Environment::default();
            environment.set(name, file.clone());
            let warnings = Settings::from_environment(&environment).1;
            let said = format!(
                "{name}: everybody can read {}; it is used all the same: `chmod 600` it, or mount \
                 it with such a mode",
                file.display()
            );
            warnings.iter().any(|warning| warning.to_string() == said)
        };
        for name in ALL.iter().map(|variable| variable.name) {
            if name.ends_with("_FILE") {
                assert_eq!(warned(name, 0o644), !OPEN.contains(&name), "{name}");
                assert!(!warned(name, 0o640), "{name}");
            }
        }
    }
}
