//! `PORT_FILE`: where the forwarded port is written.

use std::path::{Path, PathBuf};

use super::read::Read;
use super::variable::Variable;
use super::warning::Warning;
use crate::system::paths;

/// The file for the forwarded port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFile(pub PathBuf);

impl Read for PortFile {
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let default = Path::new(paths::PORT_FILE);
        let Some(text) = text else {
            return Self(default.to_owned());
        };
        let path = Path::new(text);
        // Docker makes a folder where a file was to be mounted that is not there.
        let (true, Some(name)) = (text.ends_with('/') || path.is_dir(), default.file_name()) else {
            return Self(path.to_owned());
        };
        let file = path.join(name);
        warnings.push(variable.warning(
            format!("{} is a folder", variable.shown(text)),
            format!("the file in it, {}, is used", file.display()),
        ));
        Self(file)
    }
}
