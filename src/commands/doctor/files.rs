//! Files: PIA's own, the account's, the volumes, and what an earlier life left.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::subject::Subject;
use crate::commands::pia_files;
use crate::connect::credentials;
use crate::pia::credentials::Token;
use crate::pia::regions::ListKey;
use crate::pia::trust;
use crate::system::{files, paths};
use crate::underlay::resolv_conf;

pub(super) fn check_pia(subject: &Subject, report: &mut impl FnMut(Finding)) {
    const CHECK: &str = "certificates";
    let ca = trust::pia(&subject.settings.pia_ca_file).err();
    let key = ListKey::read(&subject.settings.server_list_key_file).err();
    let web = trust::web().err();
    let mut bad = Vec::new();
    let mut whence = Vec::new();
    if let Some(error) = ca {
        bad.push(error.to_string());
        whence.push(pia_files::AUTHORITY.whence());
    }
    if let Some(error) = key {
        bad.push(error.to_string());
        whence.push(pia_files::LIST_KEY.whence());
    }
    if let Some(error) = web {
        bad.push(error.to_string());
        whence.push("the web's authorities are in the package ca-certificates".to_owned());
    }
    report(if bad.is_empty() {
        Finding::ok(
            CHECK,
            "PIA's authority, its list key and the public web's authorities are there",
        )
    } else {
        Finding::failure(
            CHECK,
            bad.join("; "),
            format!(
                "mount the file that is named, or use the image, which has them: {}",
                whence.join("; ")
            ),
        )
    });
}

/// Where a token would come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TokenSources {
    /// A token is stored, and can be one; `None` where there is no file.
    token: Option<bool>,
    user: bool,
    password: bool,
    /// One of the files that were named cannot be read.
    unreadable: bool,
}

pub(super) fn check_account(subject: &Subject, report: &mut impl FnMut(Finding)) {
    let sources = &subject.settings.credentials;
    let stored = files::read_if_present(Path::new(paths::TOKEN))
        .ok()
        .flatten();
    let is_readable = |file: &Option<PathBuf>| {
        file.as_ref()
            .is_some_and(|file| fs::read(file).is_ok_and(|text| !text.is_empty()))
    };
    let is_bad = |file: &Option<PathBuf>| file.is_some() && !is_readable(file);
    let [has_user, has_password] = credentials::are_found(sources);
    let finding = judge_account(TokenSources {
        token: stored.map(|text| Token::parse(&text).is_ok()),
        user: sources.user.is_some() || has_user || is_readable(&sources.user_file),
        password: sources.password.is_some() || has_password || is_readable(&sources.password_file),
        unreadable: is_bad(&sources.user_file) || is_bad(&sources.password_file),
    });
    report(subject.unless_assigned(finding));
}

fn judge_account(proof: TokenSources) -> Finding {
    const CHECK: &str = "credentials";
    const SET: &str = "set USER and PASS, or USER_FILE and PASS_FILE, to those of your PIA account";
    let complete = proof.user && proof.password;
    let lacking = match (proof.user, proof.password) {
        (false, false) => "user name and password are missing",
        (false, true) => "the user name is missing",
        (true, false) => "the password is missing",
        (true, true) => "",
    };
    if proof.unreadable {
        let cure = "check the path and who may read it (mounted secrets belong to root)";
        let what = "a file that USER_FILE or PASS_FILE names is empty or cannot be read";
        return if complete || proof.token == Some(true) {
            Finding::warning(CHECK, what, cure)
        } else {
            Finding::failure(CHECK, what, cure)
        };
    }
    match proof.token {
        Some(true) if complete => {
            Finding::ok(CHECK, "a token is stored; user name and password are set")
        }
        Some(true) => Finding::warning(
            CHECK,
            format!("a token is stored, but once it is refused, {lacking}"),
            SET,
        ),
        _ if !complete => {
            Finding::failure(CHECK, format!("no token is stored, and {lacking}"), SET)
        }
        Some(false) => Finding::warning(
            CHECK,
            "the stored token is damaged; a new one is fetched",
            "remove /pia/.token",
        ),
        None => Finding::ok(
            CHECK,
            "user name and password are set; no token is stored yet",
        ),
    }
}

pub(super) fn check_volumes(subject: &Subject, report: &mut impl FnMut(Finding)) {
    let directory_of = |file: &str| {
        Path::new(file)
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default()
    };
    let port_file = &subject.settings.port_forwarding.file;
    let wanted = [
        (
            PathBuf::from(paths::RUN),
            true,
            "status, lock and wg-quick's surroundings go there",
        ),
        (
            directory_of(paths::WG_CONF),
            true,
            "the configuration of wg0 goes there",
        ),
        (
            directory_of(paths::TOKEN),
            false,
            "token and server list are lost at each restart",
        ),
    ];
    let port_directory = port_file
        .parent()
        .map(Path::to_owned)
        .filter(|_| subject.settings.port_forwarding.enabled);
    // A single mounted file is written in place. A pipe would wait for a reader, or end one.
    let is_writable =
        || port_file.is_file() && fs::OpenOptions::new().write(true).open(port_file).is_ok();
    let port_directory = port_directory.filter(|_| !is_writable());
    let port = port_directory.map(|directory| {
        (
            directory,
            false,
            "others cannot read the forwarded port there",
        )
    });
    let bad: Vec<Unwritable> = wanted
        .into_iter()
        .chain(port)
        .filter_map(|(directory, is_needed, why)| {
            let error = try_to_write(&directory).err()?;
            Some(Unwritable {
                directory,
                is_needed,
                why,
                error,
            })
        })
        .collect();
    report(judge_volumes(&bad));
    if let Some(finding) = hooks() {
        report(finding);
    }
    report(judge_state(
        subject.is_running,
        subject.is_tunnelled,
        &leftovers(),
    ));
}

/// A directory that cannot be written.
#[derive(Debug)]
struct Unwritable {
    directory: PathBuf,
    is_needed: bool,
    why: &'static str,
    error: io::Error,
}

/// In the directory, or in the nearest one above it that exists.
fn try_to_write(directory: &Path) -> io::Result<()> {
    let existing = directory
        .ancestors()
        .find(|directory| directory.is_dir())
        .unwrap_or(Path::new("/"));
    tempfile::NamedTempFile::new_in(existing)
        .map(drop)
        .map_err(|error| error.kind().into())
}

fn judge_volumes(bad: &[Unwritable]) -> Finding {
    const CHECK: &str = "volumes";
    let what = bad.iter().map(|one| {
        format!(
            "{} cannot be written ({}): {}",
            one.directory.display(),
            one.error,
            one.why
        )
    });
    let what = what.collect::<Vec<_>>().join("; ");
    let directories: Vec<String> = bad
        .iter()
        .map(|one| one.directory.display().to_string())
        .collect();
    let cure = format!(
        "mount a volume or a tmpfs there, without `:ro` ({})",
        directories.join(", ")
    );
    match bad.iter().any(|one| one.is_needed) {
        _ if bad.is_empty() => Finding::ok(CHECK, "every directory that is written to can be"),
        true => Finding::failure(CHECK, what, cure),
        false => Finding::warning(CHECK, what, cure),
    }
}

/// Scripts that are there and would not be run.
fn hooks() -> Option<Finding> {
    let scripts = fs::read_dir(paths::HOOK_SCRIPTS)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let is_dead = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "sh")
            && fs::metadata(path)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 == 0)
    };
    let dead: Vec<String> = scripts
        .filter(is_dead)
        .map(|path| path.display().to_string())
        .collect();
    (!dead.is_empty()).then(|| {
        let dead = dead.join(" ");
        Finding::warning(
            "hooks",
            format!("not executable and therefore not run: {dead}"),
            format!("chmod +x {dead}"),
        )
    })
}

/// What a former life left that a new one takes away.
fn leftovers() -> Vec<&'static str> {
    let resolv_conf = files::read_shared(Path::new(paths::RESOLV_CONF))
        .ok()
        .flatten()
        .unwrap_or_default();
    [
        (
            resolv_conf::original_of(&resolv_conf) != resolv_conf,
            "resolv.conf names the VPN's DNS",
        ),
        (
            Path::new(paths::STATUS).exists(),
            "its status file is there",
        ),
    ]
    .into_iter()
    .filter_map(|(is, what)| is.then_some(what))
    .collect()
}

fn judge_state(is_running: bool, is_tunnelled: bool, leftovers: &[&str]) -> Finding {
    const CHECK: &str = "state";
    match (is_running, is_tunnelled) {
        (true, true) => Finding::ok(CHECK, "the program runs, and wg0 is there"),
        (true, false) => Finding::ok(
            CHECK,
            "the program runs; wg0 is not there (`wireguard-pia status` says why)",
        ),
        (false, true) => Finding::warning(
            CHECK,
            "wg0 is there, but the program does not run: it died without its shutdown, or wg0 is \
             somebody else's",
            "start it again: it takes over what an earlier life left",
        ),
        (false, false) if leftovers.is_empty() => {
            Finding::ok(CHECK, "nothing of an earlier life is left")
        }
        (false, false) => Finding::ok(
            CHECK,
            format!(
                "of an earlier life: {}; the next start replaces it",
                leftovers.join(", ")
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::doctor::finding::Level;

    const NONE: TokenSources = TokenSources {
        token: None,
        user: false,
        password: false,
        unreadable: false,
    };

    #[test]
    fn a_token_comes_from_somewhere() {
        let level = |proof| judge_account(proof).level;
        let set = TokenSources {
            user: true,
            password: true,
            ..NONE
        };
        assert_eq!(level(NONE), Level::Failure);
        assert_eq!(level(TokenSources { user: true, ..NONE }), Level::Failure);
        assert_eq!(level(set), Level::Ok);
        assert_eq!(
            level(TokenSources {
                token: Some(true),
                ..set
            }),
            Level::Ok
        );
        assert_eq!(
            level(TokenSources {
                token: Some(true),
                ..NONE
            }),
            Level::Warning
        );
        assert_eq!(
            level(TokenSources {
                token: Some(false),
                ..set
            }),
            Level::Warning
        );
        assert_eq!(
            level(TokenSources {
                unreadable: true,
                ..NONE
            }),
            Level::Failure
        );
        assert_eq!(
            level(TokenSources {
                unreadable: true,
                ..set
            }),
            Level::Warning
        );
    }

    #[test]
    fn folders_that_are_needed_are_worse_to_lose() {
        let bad = |is_needed| Unwritable {
            directory: "/pia".into(),
            is_needed,
            why: "x",
            error: io::ErrorKind::ReadOnlyFilesystem.into(),
        };
        assert_eq!(judge_volumes(&[]).level, Level::Ok);
        assert_eq!(judge_volumes(&[bad(false)]).level, Level::Warning);
        let found = judge_volumes(&[bad(false), bad(true)]);
        assert!(found.level == Level::Failure && found.cure.unwrap().contains("/pia"));
    }

    #[test]
    fn old_state_is_told() {
        assert_eq!(judge_state(false, true, &[]).level, Level::Warning);
        assert_eq!(judge_state(false, false, &["x"]).level, Level::Ok);
        assert_eq!(judge_state(true, false, &[]).level, Level::Ok);
    }
}
