//! The files that the image gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn make_tree(files: &Path) -> PathBuf {
    let tree = files.join("tree");
    for name in ["program", "rsa_4096.crt", "RegionsListPubKey.pem"] {
        fs::write(files.join(name), name).unwrap();
    }
    let made = Command::new("sh")
        .arg("scripts/image-tree")
        .args([&tree, &files.join("program"), &files.to_owned()])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status();
    assert!(made.unwrap().success());
    tree
}

/// `docker exec vpn wg-quick down wg0` finds ours first.
#[test]
fn wg_quick_stands_before_the_distributions_in_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = make_tree(directory.path()).join("usr/local/bin/wg-quick");
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(
        fs::read(path).unwrap(),
        fs::read("scripts/wg-quick").unwrap()
    );
}

#[test]
fn what_the_image_gets_is_no_file_that_the_builder_ignores() {
    let admitted = fs::read_to_string(".dockerignore").unwrap();
    let script = fs::read_to_string("scripts/image-tree").unwrap();
    let mut names: Vec<&str> = script
        .split_whitespace()
        .filter(|word| word.starts_with("scripts/") && !word.contains('*'))
        .collect();
    assert!(names.contains(&"scripts/entry-point"), "{names:?}");
    names.retain(|name| !admitted.lines().any(|line| line == format!("!{name}")));
    assert_eq!(names, [""; 0]);
}

/// Users mount, copy or redirect files of their own over these names.
#[test]
fn a_file_over_one_of_the_names_in_scripts_replaces_only_that_one() {
    let directory = tempfile::tempdir().unwrap();
    let tree = make_tree(directory.path());
    let names = [
        "run",
        "healthcheck.sh",
        "wg-gen.sh",
        "pia-auth.sh",
        "pf.sh",
        "pf_success.sh",
    ];
    for name in names {
        let path = tree.join("scripts").join(name);
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.is_file(), "{name} is no regular file");
        assert_eq!(found.permissions().mode() & 0o777, 0o755, "{name}");
        fs::write(path, name).unwrap();
    }
    let text = |path: &str| fs::read_to_string(tree.join(path)).unwrap();
    assert_eq!(text("usr/local/bin/wireguard-pia"), "program");
    for name in names {
        assert_eq!(text(&format!("scripts/{name}")), name);
    }
}

/// The engine asks the kernel to run it, which knows no file without a `#!` line.
#[test]
fn the_health_check_is_run_also_where_it_is_an_own_file_without_an_interpreter() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("healthcheck.sh");
    fs::write(&path, "[ \"$WELL\" = 1 ]\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let dockerfile = fs::read_to_string("Dockerfile").unwrap();
    let check = dockerfile.split("\nHEALTHCHECK ").nth(1).unwrap();
    let words = check.split("CMD ").nth(1).unwrap().lines().next().unwrap();
    let words = words.replace("/scripts/healthcheck.sh", path.to_str().unwrap());
    let words: Vec<String> = serde_json::from_str(&words).unwrap();
    for (well, status) in [("1", 0), ("0", 1)] {
        let checked = Command::new(&words[0])
            .args(&words[1..])
            .env("WELL", well)
            .status();
        assert_eq!(checked.unwrap().code(), Some(status), "{words:?}");
    }
}
