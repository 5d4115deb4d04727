//! What a client lets us in with; read anew for each look, as people change files.

use std::path::PathBuf;

use crate::system::files;
use crate::system::secret::Secret;

/// A secret in a file, or else in the environment.
#[derive(Debug, Clone, Default)]
pub struct SecretSource {
    /// Wins where it can be read.
    pub file: Option<PathBuf>,
    pub value: Option<Secret>,
}

impl SecretSource {
    fn read(&self) -> Option<Secret> {
        let file = self.file.as_deref();
        // One that cannot be read is as good as none; the client then refuses us, which is said.
        let of_file = file.and_then(|file| files::read_secret(file).ok().flatten());
        of_file.or_else(|| self.value.clone())
    }
}

/// Where user name and password are. A key counts as a password.
#[derive(Debug, Clone, Default)]
pub struct Login {
    pub user: SecretSource,
    pub password: SecretSource,
}

/// User name and password as they are now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ReadLogin {
    pub user: Option<Secret>,
    pub password: Option<Secret>,
}

impl Login {
    pub(super) fn read(&self) -> ReadLogin {
        ReadLogin {
            user: self.user.read(),
            password: self.password.read(),
        }
    }
}

impl ReadLogin {
    /// `user:password`; `None` where neither is set.
    pub(super) fn pair(&self) -> Option<Secret> {
        let text = |secret: &Option<Secret>| {
            let secret = secret.as_ref().map(Secret::expose);
            secret.unwrap_or_default().to_owned()
        };
        let is_set = self.user.is_some() || self.password.is_some();
        is_set.then(|| Secret::new(format!("{}:{}", text(&self.user), text(&self.password))))
    }
}
