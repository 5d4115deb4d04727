//! What the README says is so.

use std::fs;
use std::path::Path;

use wireguard_pia::settings::variables;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_table_of_variables_is_that_of_the_program() {
    let table = variables::table();
    let readme = read("README.md");
    let head = table.lines().next().unwrap();
    let found: String = readme
        .lines()
        .skip_while(|line| *line != head)
        .take_while(|line| line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(
        found == table,
        "the README's table of variables has to be (cargo run --example manual -- --variables):\n\
         {table}"
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
