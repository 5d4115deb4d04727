//! A directory with `iptables` and its siblings of the chosen backend, for wg-quick, hooks and
//! `docker exec`: it comes first in their PATH. Empty where plain `iptables` is the right one
//! already.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::programs::{NAMES, Programs};
use crate::system::files::{self, FileError};

/// Makes the links.
pub(super) fn fill(directory: &Path, programs: &Programs) -> Result<(), FileError> {
    files::make_directory(directory)?;
    for (name, program) in &programs.found {
        let link = directory.join(name);
        if fs::read_link(&link).is_ok_and(|target| target == program.path) {
            continue;
        }
        files::remove_if_present(&link)?;
        symlink(&program.path, &link).map_err(|error| FileError::new("linking", link, error))?;
    }
    Ok(())
}

/// Takes away the links of an earlier life.
pub(super) fn empty(directory: &Path) -> Result<(), FileError> {
    for name in NAMES {
        match files::remove_if_present(&directory.join(name)) {
            Err(error) if error.source.kind() == io::ErrorKind::NotADirectory => {}
            result => result?,
        }
    }
    Ok(())
}
