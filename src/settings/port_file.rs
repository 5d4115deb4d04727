//! `PORT_FILE`: where the forwarded port is written.

use std::path::{Path, PathBuf};

use super::read::Read;
use super::variable::Variable;
use super::warning::Warning;
use crate::system::paths;

/// Stands for the host name, so that containers with one volume do not overwrite each other's.
const HOST_NAME_MARK: &str = "%h";

/// The file for the forwarded port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortFile(pub PathBuf);

impl Read for PortFile {
    fn read(text: Option<&str>, variable: &Variable, warnings: &mut Vec<Warning>) -> Self {
        let default = Path::new(paths::PORT_FILE);
        let text = match text {
            Some(text) => &with_host_name(text, variable, warnings),
            None => paths::PORT_FILE,
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

fn with_host_name(text: &str, variable: &Variable, warnings: &mut Vec<Warning>) -> String {
    if !text.contains(HOST_NAME_MARK) {
        return text.to_owned();
    }
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() || name.contains('/') {
        let problem = format!("the host name, {name:?}, cannot be a part of a path");
        let consequence = format!("{HOST_NAME_MARK} stays as it is");
        warnings.push(variable.warning(problem, consequence));
        return text.to_owned();
    }
    text.replace(HOST_NAME_MARK, name)
}
