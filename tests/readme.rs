//! What the README says is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use wireguard_pia::settings::variables::NAMES;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The variables of the README's tables: the first cell of a row, in backquotes.
fn documented() -> BTreeSet<String> {
    let readme = read("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| {
        let cell = row.split('|').next().unwrap();
        cell.split('`')
            .map(|part| part.trim_matches([',', ' ']))
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    })
    .filter(|name| {
        name.chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    })
    .collect()
}

#[test]
fn the_table_of_variables_is_that_of_the_program() {
    let known: BTreeSet<String> = NAMES.iter().map(|name| name.to_uppercase()).collect();
    let documented = documented();
    let missing: Vec<_> = known.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "not in the README: {missing:?}; not in the program: {unknown:?}"
    );
}

#[test]
fn the_two_commands_are_there() {
    let readme = read("README.md");
    for command in ["scripts/demo", "scripts/test"] {
        assert!(readme.contains(command));
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join(command))
            .unwrap()
            .permissions()
            .mode();
        assert!(mode & 0o111 != 0, "{command} cannot be run");
    }
}
