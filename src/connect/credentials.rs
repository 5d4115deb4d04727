//! User name and password: where they are, and reading them when they are needed.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

use nix::unistd::geteuid;

use crate::pia::credentials::Credentials;
use crate::settings::CredentialSources;
use crate::system::files;
use crate::system::secret::Secret;

/// What is missing for a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    User,
    Password,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user name",
            Self::Password => "password",
        })
    }
}

/// What is missing, in words.
pub fn in_words(missing: &[Missing]) -> String {
    let words: Vec<String> = missing.iter().map(ToString::to_string).collect();
    words.join(" and ")
}

/// The secrets that need no variable.
const USER: &str = "pia_user";
const PASSWORD: &str = "pia_pass";

/// User name and password, from the files if they can be read, else from the environment, else
/// from where systemd, Docker and Kubernetes put secrets of these names.
///
/// # Errors
/// Names what is nowhere.
pub fn read(sources: &CredentialSources) -> Result<Credentials, Vec<Missing>> {
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
    let user = user.or_else(|| found(sources, USER));
    let password = password.or_else(|| found(sources, PASSWORD));
    match (user, password) {
        (Some(user), Some(password)) => Ok(Credentials { user, password }),
        (None, Some(_)) => Err(vec![Missing::User]),
        (Some(_), None) => Err(vec![Missing::Password]),
        (None, None) => Err(vec![Missing::User, Missing::Password]),
    }
}

/// Whether user name and password are among the secrets that need no variable.
pub fn are_found(sources: &CredentialSources) -> [bool; 2] {
    [USER, PASSWORD].map(|name| found(sources, name).is_some())
}

/// A file that is not there is the usual case.
fn found(sources: &CredentialSources, name: &str) -> Option<Secret> {
    let mut directories = sources.directories.iter();
    directories.find_map(|directory| {
        let file = directory.join(name);
        file.is_file().then(|| secret(Some(&file), name, None))?
    })
}

/// The file wins when readable.
fn secret(file: Option<&Path>, variable: &str, value: Option<&Secret>) -> Option<Secret> {
    let Some(path) = file else {
        return value.cloned();
    };
    match files::read_secret(path) {
        Ok(secret) => secret.or_else(|| value.cloned()),
        Err(error) => {
            let instead = if value.is_some() {
                "; the environment's value is used"
            } else {
                ""
            };
            let advice = if error.kind() == ErrorKind::PermissionDenied {
                files::permission_advice(geteuid())
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
            directories: Vec::new(),
        };
        let found = read(&sources).unwrap();
        assert_eq!(
            (found.user.expose(), found.password.expose()),
            ("p1", "p&+%\" ")
        );
    }

    /// As the shell's `$(<file)` reads them.
    #[test]
    fn files_lose_all_line_ends_at_their_end() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("password");
        std::fs::write(&file, "\nge heim \n\r\n\n").unwrap();
        let secret = secret(Some(&file), "PASS_FILE", None).unwrap();
        assert_eq!(secret.expose(), "\nge heim ");
    }

    #[test]
    fn secrets_are_found_where_nothing_else_is_set() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("pia_user"), "p2\n").unwrap();
        std::fs::write(directory.path().join("pia_pass"), "geheim\n").unwrap();
        let found = |sources: &CredentialSources| {
            let found = read(sources).unwrap();
            [found.user, found.password].map(|secret| secret.expose().to_owned())
        };
        let mut sources = CredentialSources {
            directories: vec![directory.path().to_owned()],
            ..CredentialSources::default()
        };
        assert_eq!(found(&sources), ["p2", "geheim"]);
        assert_eq!(are_found(&sources), [true; 2]);
        let of_systemd = tempfile::tempdir().unwrap();
        std::fs::write(of_systemd.path().join("pia_pass"), "andres").unwrap();
        sources.directories.insert(0, of_systemd.path().to_owned());
        assert_eq!(found(&sources), ["p2", "andres"]);
        sources.user = Some(Secret::new("p1"));
        assert_eq!(found(&sources), ["p1", "andres"]);
        assert_eq!(are_found(&CredentialSources::default()), [false; 2]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let sources = CredentialSources {
            user: Some(Secret::new("p1")),
            ..CredentialSources::default()
        };
        assert_eq!(read(&sources).unwrap_err(), [Missing::Password]);
    }
}
