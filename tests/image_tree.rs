//! The files that the image gets.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Users mount, copy or redirect files of their own over these names.
#[test]
fn a_file_over_one_of_the_names_in_scripts_replaces_only_that_one() {
    let directory = tempfile::tempdir().unwrap();
    let (tree, files) = (directory.path().join("tree"), directory.path());
    for name in ["program", "rsa_4096.crt", "RegionsListPubKey.pem"] {
        fs::write(files.join(name), name).unwrap();
    }
    let made = Command::new("sh")
        .arg("scripts/image-tree")
        .args([&tree, &files.join("program"), files])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .status();
    assert!(made.unwrap().success());
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
