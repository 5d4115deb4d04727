//! Whom the cases are put to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::{env, fmt, fs};

use harness::world::World;
use harness::world::recipe::{PATH, Recipe};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_wireguard-pia");

/// What stands before the distribution's own in the image's PATH.
const WG_QUICK: &[u8] = include_bytes!("../../scripts/wg-quick");

#[derive(Debug)]
pub enum Subject {
    Ours,
    /// A folder with the original's `scripts`, and in `bin` what it needs and Debian lacks:
    /// `scripts/original.bash` makes it.
    Original(PathBuf),
}

impl Subject {
    pub fn from_environment() -> Self {
        env::var_os("COMPLIANCE_ORIGINAL")
            .map_or(Self::Ours, |folder| Self::Original(folder.into()))
    }

    pub fn is_original(&self) -> bool {
        matches!(self, Self::Original(_))
    }

    /// A container of it, as its image would make one.
    pub fn container(&self, world: &World) -> Recipe {
        let recipe = world.container(PROGRAM);
        match self {
            Self::Ours => recipe
                .script("/usr/local/bin/wg-quick", WG_QUICK)
                .command(["/scripts/run"]),
            Self::Original(folder) => scripts(folder)
                .into_iter()
                .fold(recipe, |recipe, (name, text)| {
                    recipe.script(Path::new("/scripts").join(name), text)
                })
                .command(["/scripts/run"])
                .env("PATH", format!("/original/bin:{PATH}"))
                .bind(folder, "/original"),
        }
    }
}

fn scripts(folder: &Path) -> Vec<(OsString, Vec<u8>)> {
    let entries = fs::read_dir(folder.join("scripts")).expect("the original's scripts are there");
    let entries = entries.map(|entry| entry.expect("a folder can be read"));
    entries
        .map(|entry| {
            let text = fs::read(entry.path()).expect("a script can be read");
            (entry.file_name(), text)
        })
        .collect()
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => "wireguard-pia",
            Self::Original(_) => "the original",
        })
    }
}
