//! Files that users put over our own in `/scripts`, by a mount or in a derived image.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Kind, kind_of};
use crate::system::paths;

/// What stands under each of our names.
const OURS: &[u8] = include_bytes!("../../scripts/entry-point");

/// Called with the port when one is forwarded.
pub const PF_SUCCESS: &str = "pf_success.sh";
/// Says whether all is well.
pub const HEALTHCHECK: &str = "healthcheck.sh";

/// The user's own file of this name, if there is one that can be run. One that cannot is told.
pub fn find(name: &str) -> Option<PathBuf> {
    match look(name) {
        (Kind::Executable, path) => Some(path),
        (Kind::NotExecutable, path) => {
            log::warn!(
                "{} is not executable and therefore not run; chmod +x it",
                path.display()
            );
            None
        }
        (Kind::NoFile, _) => None,
    }
}

/// Whether [`find`] finds one; nothing is told.
pub fn is_there(name: &str) -> bool {
    matches!(look(name), (Kind::Executable, _))
}

fn look(name: &str) -> (Kind, PathBuf) {
    let path = Path::new(paths::WORKING_DIRECTORY).join(name);
    let kind = if is_ours(&path) {
        Kind::NoFile
    } else {
        kind_of(&path)
    };
    (kind, path)
}

/// In images derived from earlier ones it is a link to the program.
fn is_ours(path: &Path) -> bool {
    let program = fs::canonicalize(path).ok();
    program.is_some() && program == std::env::current_exe().ok()
        || fs::read(path).is_ok_and(|text| text == OURS)
}
