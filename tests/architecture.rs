//! The shape of the house: arrows only point down, and siblings do not know each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of `src/` with those that it may use; the later lines are the higher floors.
const ALLOWED: &[(&str, &[&str])] = &[
    ("system", &[]),
    // Capabilities, which do not know each other but for what is asked over the underlay.
    ("underlay", &["system"]),
    ("pia", &["system", "underlay"]),
    ("wireguard", &["system"]),
    ("firewall", &["system"]),
    ("hooks", &["system"]),
    ("status", &["system"]),
    ("control", &["system"]),
    ("port_clients", &["system", "underlay"]),
    // Options are types of the capability that they are for.
    ("settings", &["firewall", "pia", "port_clients", "system"]),
    ("container", &["hooks", "settings", "status", "system"]),
    (
        "failure",
        &["firewall", "pia", "system", "underlay", "wireguard"],
    ),
    (
        "connect",
        &[
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
        "port_forward",
        &["connect", "failure", "pia", "system", "underlay"],
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
            "control",
            "failure",
            "firewall",
            "hooks",
            "pia",
            "port_clients",
            "port_forward",
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
            "control",
            "failure",
            "firewall",
            "hooks",
            "pia",
            "port_forward",
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
        "port_forward/lease_machine/mod.rs",
        "port_forward/lease_machine/suspicion.rs",
        "system/backoff.rs",
    ];
    let sources = sources();
    for name in decisions {
        let (_, text) = sources
            .iter()
            .find(|(path, _)| path == Path::new(name))
            .expect(name);
        // Growing pauses are decisions themselves.
        let text = without_tests(text).replace("crate::system::backoff::", "");
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

/// The file that holds a module, by its path from `src`, without the ending.
fn file_of(module: &[String], files: &BTreeSet<String>) -> Option<String> {
    let mut module = module.to_vec();
    while !module.is_empty() {
        let path = module.join("/");
        for candidate in [path.clone(), format!("{path}/mod")] {
            if files.contains(&candidate) {
                return Some(candidate);
            }
        }
        // The last part is an item of the module, or the part before it is.
        module.pop();
    }
    None
}

/// The paths in a use declaration, its braces expanded: `a::{b, c::{d, e}}` names three.
fn expand(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let (prefix, inner) = (&tree[..open], &tree[open + 1..tree.rfind('}').unwrap()]);
    let (mut depth, mut start, mut parts) = (0, 0, Vec::new());
    for (index, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&inner[start..]);
    let parts = parts.into_iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(expand)
        .map(|part| format!("{prefix}{part}"))
        .collect()
}

/// The files that each file's use declarations lead to.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let sources = sources();
    let name = |path: &Path| path.with_extension("").to_str().unwrap().to_owned();
    let files: BTreeSet<String> = sources.iter().map(|(path, _)| name(path)).collect();
    let mut imports = BTreeMap::new();
    for (path, text) in &sources {
        let file = name(path);
        let module: Vec<String> = file
            .trim_end_matches("/mod")
            .split('/')
            .map(str::to_owned)
            .collect();
        let mut used = BTreeSet::new();
        let text = without_tests(text);
        let declarations = text.split("\nuse ").skip(1);
        for declaration in declarations.chain(text.split("\npub use ").skip(1)) {
            for path in expand(declaration.split(';').next().unwrap()) {
                let words: Vec<String> = path
                    .split("::")
                    .map(|word| word.trim().to_owned())
                    .collect();
                let target = match words[0].as_str() {
                    "crate" => words[1..].to_vec(),
                    "self" => [module.clone(), words[1..].to_vec()].concat(),
                    "super" => {
                        let up = words.iter().take_while(|word| *word == "super").count();
                        [module[..module.len() - up].to_vec(), words[up..].to_vec()].concat()
                    }
                    // A child of this module, or another crate, which leads nowhere.
                    _ => [module.clone(), words].concat(),
                };
                used.extend(file_of(&target, &files).filter(|target| *target != file));
            }
        }
        imports.insert(file, used);
    }
    imports
}

#[test]
fn no_file_imports_what_imports_it() {
    let imports = imports();
    for start in imports.keys() {
        let mut ways: Vec<Vec<&String>> = vec![vec![start]];
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop() {
            for next in &imports[way[way.len() - 1]] {
                assert!(next != start, "a circle: {way:?} → {start}");
                if seen.insert(next) {
                    ways.push([way.as_slice(), &[next]].concat());
                }
            }
        }
    }
}

/// One name, one type: whoever reads it need not ask which one. (`Arguments` is what clap's are
/// called, `Err` what a trait wants.)
#[test]
fn no_type_name_is_defined_twice() {
    let mut defined: BTreeMap<String, PathBuf> = BTreeMap::new();
    for (path, text) in sources() {
        for line in without_tests(&text).lines() {
            let line = line.trim_start().trim_start_matches("pub ");
            let line = line
                .trim_start_matches("pub(super) ")
                .trim_start_matches("pub(crate) ");
            let kinds = ["struct ", "enum ", "trait ", "type "];
            let Some(rest) = kinds.iter().find_map(|kind| line.strip_prefix(kind)) else {
                continue;
            };
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
            if let Some(before) = defined.insert(name.clone(), path.clone()) {
                let both = format!("{} and {}", before.display(), path.display());
                assert!(
                    ["Arguments", "Err"].contains(&name.as_str()),
                    "{name} in {both}"
                );
            }
        }
    }
}

/// The shell of a text leaves them out, as a value of an earlier hook would win over a new one.
#[test]
fn no_text_hands_on_what_the_program_tells_hooks() {
    let script =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/hook.bash"))
            .unwrap();
    let lists: Vec<_> = script.match_indices("VPN_LOCATION |").collect();
    assert_eq!(lists.len(), 2, "for the program, and for later texts");
    for (path, text) in sources() {
        let quoted = without_tests(&text).split('"').skip(1).step_by(2);
        for name in quoted.filter(|word| word.starts_with("VPN_") && !word.contains(' ')) {
            let words = script.split(|c: char| !c.is_alphanumeric() && c != '_');
            let found = words.filter(|word| *word == name).count();
            assert_eq!(found, 2, "{name} of {}", path.display());
        }
    }
}

/// What can end in three ways says so by names of its own, not by a result within a result.
#[test]
fn no_result_is_within_another() {
    for (path, text) in sources() {
        for line in without_tests(&text).lines() {
            let is_nested = line.contains("Result<Result<") || line.contains("Result<io::Result<");
            assert!(!is_nested, "{}: {line}", path.display());
        }
    }
}
