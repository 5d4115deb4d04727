//! The account: its token, stored from life to life, and the credentials that a new one costs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::pia::credentials::{Credentials, Token};
use crate::settings::CredentialSources;
use crate::system::files;
use crate::system::secret::Secret;

const USER: &str = "user name";
const PASSWORD: &str = "password";

/// The account token and where it comes from.
pub struct Account {
    sources: CredentialSources,
    file: PathBuf,
    token: Option<Token>,
}

impl Account {
    /// Nothing is read before it is needed.
    pub fn new(sources: CredentialSources, file: &Path) -> Self {
        Self {
            sources,
            file: file.to_owned(),
            token: None,
        }
    }

    /// The token in use or stored, if there is one.
    pub fn stored_token(&mut self) -> Option<Token> {
        if self.token.is_none() {
            self.token = self.read();
        }
        self.token.clone()
    }

    fn read(&self) -> Option<Token> {
        match files::read_if_present(&self.file) {
            Ok(Some(text)) => match Token::parse(&text) {
                Ok(token) => {
                    log::info!("Using the stored token");
                    Some(token)
                }
                Err(error) => {
                    log::warn!("{}: {error}; a new one is fetched", self.file.display());
                    None
                }
            },
            Ok(None) => None,
            Err(error) => {
                log::warn!("{error}; a new token is fetched");
                None
            }
        }
    }

    /// Takes a new token into use and stores it. The old one is replaced only now that the new one
    /// is there.
    pub fn keep(&mut self, token: Token) {
        let written = self
            .file
            .parent()
            .map_or(Ok(()), files::make_directory)
            .and_then(|()| files::replace(&self.file, token.expose().as_bytes(), 0o600));
        if let Err(error) = written {
            log::warn!(
                "{error}; the token is kept in memory only, and the next start needs the \
                 credentials again"
            );
        }
        self.token = Some(token);
    }

    /// User name and password, from the files if they can be read, else from the environment.
    ///
    /// # Errors
    /// When one of them is nowhere.
    pub fn credentials(&self) -> Result<Credentials, Failure> {
        Self::credentials_from(&self.sources).map_err(|missing| {
            let set: Vec<&str> = missing
                .into_iter()
                .map(|what| {
                    if what == USER {
                        "USER (or USER_FILE)"
                    } else {
                        "PASS (or PASS_FILE)"
                    }
                })
                .collect();
            Failure::lasting(format!(
                "a new token is needed, as none is stored in {} or it is refused, and the \
                 credentials for one are missing: set {}",
                self.file.display(),
                set.join(" and ")
            ))
        })
    }

    /// User name and password from anywhere.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn credentials_from(sources: &CredentialSources) -> Result<Credentials, Vec<&'static str>> {
        let user = secret(
            sources.user_file.as_deref(),
            "USER_FILE",
            sources.user.as_ref(),
        );
        let password = secret(
            sources.password_file.as_deref(),
            "PASS_FILE",
            sources.password.as_ref(),
        );
        match (user, password) {
            (Some(user), Some(password)) => Ok(Credentials { user, password }),
            (user, password) => {
                let missing = [(USER, user.is_none()), (PASSWORD, password.is_none())];
                Err(missing
                    .into_iter()
                    .filter_map(|(name, is)| is.then_some(name))
                    .collect())
            }
        }
    }
}

/// The file wins when readable; a trailing newline is the editor's, not the secret's.
fn secret(file: Option<&Path>, variable: &str, value: Option<&Secret>) -> Option<Secret> {
    let Some(path) = file else {
        return value.cloned();
    };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            (!text.is_empty())
                .then(|| Secret::new(text))
                .or_else(|| value.cloned())
        }
        Err(error) => {
            let instead = if value.is_some() {
                "; the environment's value is used"
            } else {
                ""
            };
            let advice = if error.kind() == ErrorKind::PermissionDenied {
                files::PERMISSION_ADVICE
            } else {
                ""
            };
            log::warn!(
                "{variable}={}: cannot be read: {error}{instead}{advice}",
                path.display()
            );
            value.cloned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(directory: &Path, sources: CredentialSources) -> Account {
        Account::new(sources, &directory.join(".token"))
    }

    #[test]
    fn a_token_is_kept_without_newline_for_the_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".token");
        std::fs::write(&path, "old\n").unwrap();
        let mut account = account(directory.path(), CredentialSources::default());
        assert_eq!(account.stored_token().unwrap().expose(), "old");
        account.keep(Token::parse("new").unwrap());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn files_win_and_lose_their_trailing_newline() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "p&+%\" \r\n").unwrap();
        let sources = CredentialSources {
            user: Some(Secret::new("p1")),
            password: Some(Secret::new("wrong")),
            user_file: Some(directory.path().join("missing")),
            password_file: Some(file),
        };
        let credentials = account(directory.path(), sources).credentials().unwrap();
        assert_eq!(
            (credentials.user.expose(), credentials.password.expose()),
            ("p1", "p&+%\" ")
        );
    }

    #[test]
    fn missing_credentials_are_named() {
        let directory = tempfile::tempdir().unwrap();
        let sources = CredentialSources {
            user: Some(Secret::new("p1")),
            ..CredentialSources::default()
        };
        let error = account(directory.path(), sources)
            .credentials()
            .unwrap_err();
        assert!(matches!(error, Failure::Lasting { .. }));
        assert!(
            error.to_string().ends_with("set PASS (or PASS_FILE)"),
            "{error}"
        );
    }
}
