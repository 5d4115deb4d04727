//! The account token in a file, as `auth` printed it.

use std::path::Path;

use crate::failure::{Failure, FailureKind, Retry};
use crate::pia::credentials::Token;
use crate::system::files;

/// Reads it.
///
/// # Errors
/// When there is none, with the command that makes one.
pub(super) fn read(file: &Path) -> Result<Token, Failure> {
    let refused = |text| Failure::new(FailureKind::Login, Retry::Never, text);
    let name = file.display();
    let text = files::read_if_present(file).map_err(|error| refused(error.to_string()))?;
    let Some(text) = text else {
        return Err(refused(format!(
            "{name}: there is no such file: make one with \
             `wireguard-pia auth -u USER --password-stdin > {name}`"
        )));
    };
    Token::parse(&text).map_err(|error| refused(format!("{name}: {error}")))
}
