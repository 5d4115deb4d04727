//! The shape of the house: arrows only point down, and siblings do not know each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src/` with those that it may use; the later lines are the higher floors.
const ALLOWED: &[(&str, &[&str])] = &[
    ("system", &[]),
    ("underlay", &["system"]),
    ("pia", &["system", "underlay"]),
    ("wireguard", &["system"]),
    ("firewall", &["system", "underlay"]),
    ("hooks", &["system"]),
    ("status", &["system"]),
    ("settings", &["system"]),
    ("container", &["hooks", "settings", "status", "system"]),
    (
        "failure",
        &["firewall", "pia", "system", "underlay", "wireguard"],
    ),
    (
        "connect",
        &[
            "container",
            "failure",
            "firewall",
            "pia",
            "settings",
            "system",
            "underlay",
            "wireguard",
        ],
    ),
    (
        "tunnel",
        &[
            "connect",
            "container",
            "failure",
            "firewall",
            "settings",
            "status",
            "system",
            "underlay",
            "wireguard",
        ],
    ),
    (
        "lifecycle",
        &[
            "connect",
            "container",
            "failure",
            "firewall",
            "hooks",
            "pia",
            "settings",
            "status",
            "system",
            "tunnel",
            "underlay",
            "wireguard",
        ],
    ),
    (
        "commands",
        &[
            "connect",
            "failure",
            "firewall",
            "hooks",
            "pia",
            "settings",
            "status",
            "system",
            "underlay",
            "wireguard",
        ],
    ),
    ("cli", &["commands", "lifecycle", "settings", "system"]),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
        {
            if entry.is_dir() {
                collect(&entry, files);
            } else {
                files.push(entry);
            }
        }
    }
    let mut files = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    collect(&src, &mut files);
    let read = |path: PathBuf| {
        (
            path.strip_prefix(&src).unwrap().to_owned(),
            fs::read_to_string(&path).unwrap(),
        )
    };
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(read)
        .collect()
}

/// The program's own text: unit tests stand at the end of a file, or in a file of their own.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\nmod tests {").next().unwrap()
}

fn module_of(path: &Path) -> String {
    let first = path.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules that a text names after `crate::`, also within braces.
fn used(text: &str) -> BTreeSet<String> {
    let word = |text: &str| {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    text.split("crate::")
        .skip(1)
        .flat_map(|after| match after.strip_prefix('{') {
            Some(list) => {
                let list = list.split(';').next().unwrap();
                let mut depth = 0;
                let mut names = vec![word(list.trim_start())];
                for (index, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 0 => names.push(word(list[index + 1..].trim_start())),
                        _ => {}
                    }
                }
                names
            }
            None => vec![word(after)],
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_arrow_points_down() {
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    let floor = |name: &str| ALLOWED.iter().position(|(module, _)| *module == name);
    for (module, below) in ALLOWED {
        for name in *below {
            assert!(floor(name) < floor(module), "{module} → {name} points up");
        }
    }
    for (path, text) in sources() {
        let module = module_of(&path);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        let Some(below) = allowed.get(module.as_str()) else {
            panic!("{}: on which floor is it?", path.display())
        };
        for name in used(without_tests(&text))
            .into_iter()
            .filter(|name| *name != module)
        {
            assert!(
                below.contains(&name.as_str()),
                "{} uses crate::{name}, which {module} is not to know",
                path.display()
            );
        }
    }
}

/// Decisions take time and the outside world as arguments.
#[test]
fn decisions_know_neither_the_clock_nor_the_system() {
    let decisions = [
        "firewall/policy.rs",
        "connect/server_selection/locations.rs",
        "connect/server_selection/candidates.rs",
        "lifecycle/supervisor/vigilance.rs",
        "lifecycle/supervisor/port_forward/lease_machine.rs",
    ];
    let sources = sources();
    for name in decisions {
        let (_, text) = sources
            .iter()
            .find(|(path, _)| path == Path::new(name))
            .expect(name);
        let text = without_tests(text);
        for effect in [
            "::now()",
            "crate::system",
            "std::fs",
            "std::process",
            "std::net::Tcp",
            "std::net::Udp",
        ] {
            assert!(!text.contains(effect), "{name} has {effect}");
        }
    }
}
