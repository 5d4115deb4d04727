//! Where user name and password are.

use std::path::PathBuf;

use super::environment::Environment;
use super::variables::Variables;
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
pub(super) const SECRETS: &str = "/run/secrets";
/// What systemd's `LoadCredential` puts into one's environment; systemd.exec(5).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

impl CredentialSources {
    pub(super) fn of(variables: &Variables, environment: &Environment) -> Self {
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
