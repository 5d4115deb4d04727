//! Where user name and password are.

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::variable::Variable;
use super::variables::{Variables, entry};
use super::warning::Warning;
use crate::system::files;
use crate::system::secret::Secret;

/// Where username and password are; read when they are needed.
#[derive(Debug, Clone, Default)]
pub struct CredentialSources {
    pub user: Option<Secret>,
    pub password: Option<Secret>,
    pub user_file: Option<PathBuf>,
    pub password_file: Option<PathBuf>,
    /// Where secrets named `pia_user` and `pia_pass` are looked for, the first one first.
    pub directories: Vec<PathBuf>,
}

/// Where Docker, Podman and many a Kubernetes manifest put secrets.
const SECRETS: &str = "/run/secrets";
/// What systemd's `LoadCredential` puts into one's environment; systemd.exec(5).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

impl CredentialSources {
    pub(super) fn of(
        variables: &Variables,
        environment: &Environment,
        warnings: &mut Vec<Warning>,
    ) -> Self {
        if let Some(file) = &variables.pass_file {
            warnings.extend(exposed(file, &entry::pass_file));
        }
        if let Some(file) = &variables.status_key_file {
            warnings.extend(exposed(file, &entry::status_key_file));
        }
        let of_systemd = environment.text(CREDENTIALS_DIRECTORY);
        let directories = of_systemd.into_iter().chain([SECRETS]);
        Self {
            directories: directories.map(PathBuf::from).collect(),
            user: variables.user.clone(),
            password: variables.pass.clone(),
            user_file: variables.user_file.clone(),
            password_file: variables.pass_file.clone(),
        }
    }
}

/// Where everybody can read a secret, that is said. With secrets of engines nothing can be done
/// about it.
fn exposed(file: &Path, variable: &Variable) -> Option<Warning> {
    let whole = file.canonicalize().ok()?;
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
