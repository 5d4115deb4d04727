//! What the README says is so.

use std::fs;
use std::path::{Path, PathBuf};

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

/// The README, what is in docs, and what raises alarms.
fn documents() -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("README.md")];
    for folder in ["docs", "docs/monitoring"] {
        let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        let documents = names.map(|name| Path::new(folder).join(name));
        let is_text = |path: &PathBuf| path.extension().is_some_and(|e| e == "md" || e == "yml");
        found.extend(documents.filter(is_text));
    }
    found
}

/// The names of the containers to which its commands are addressed.
fn addressed(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for command in ["docker exec ", "docker kill "] {
        for (at, _) in text.match_indices(command) {
            let mut words = text[at + command.len()..].split_whitespace();
            let mut word = words.next().unwrap();
            while word.starts_with('-') {
                if word == "--signal" {
                    words.next();
                }
                word = words.next().unwrap();
            }
            found.push(word.trim_end_matches('`'));
        }
    }
    found
}

/// The compose files that a document shows or links to, and ours.
fn compose_files(document: &Path, text: &str) -> Vec<String> {
    let mut files = vec![read("docker-compose.yml")];
    let blocks = text.split("```yaml\n").skip(1);
    files.extend(blocks.map(|block| block.split("```").next().unwrap().to_owned()));
    for link in text.split("](").skip(1) {
        let link = link.split(')').next().unwrap();
        if link.ends_with(".yml") {
            let path = document.parent().unwrap().join(link);
            files.push(read(path.to_str().unwrap()));
        }
    }
    files
}

/// Each service with an image of ours, and the name of its container.
fn our_services(compose: &str) -> Vec<(String, Option<String>)> {
    let mut services = Vec::new();
    for line in compose.lines() {
        let value = |key| line.trim_start().strip_prefix(key).map(str::trim);
        let service = line
            .strip_prefix("  ")
            .and_then(|line| line.strip_suffix(':'));
        if let Some(service) = service.filter(|service| !service.starts_with([' ', '#'])) {
            services.push((service.to_owned(), false, None));
        } else if let Some(service) = services.last_mut() {
            let image = value("image:").and_then(|image| image.split([' ', ':']).next());
            service.1 |= image == Some("wireguard-pia");
            service.2 = value("container_name:")
                .map(str::to_owned)
                .or(service.2.take());
        }
    }
    let ours = services.into_iter().filter(|(_, is_ours, _)| *is_ours);
    ours.map(|(service, _, container)| (service, container))
        .collect()
}

#[test]
fn commands_name_containers_of_the_compose_files_beside_them() {
    let mut wrong = Vec::new();
    let (mut commands, mut services) = (0, 0);
    for document in documents() {
        let text = read(document.to_str().unwrap());
        let shown = compose_files(&document, &text);
        let ours: Vec<_> = shown.iter().flat_map(|file| our_services(file)).collect();
        for name in addressed(&text) {
            commands += 1;
            if !ours
                .iter()
                .any(|(_, container)| container.as_deref() == Some(name))
            {
                wrong.push(format!(
                    "{}: no container is called {name}",
                    document.display()
                ));
            }
        }
        // Several of one service have a name each.
        for (service, container) in ours
            .into_iter()
            .filter(|_| !document.ends_with("replicas.md"))
        {
            services += 1;
            if container.as_ref() != Some(&service) {
                wrong.push(format!(
                    "{}: {service} has no container_name",
                    document.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(commands > 15 && services > 5, "{commands} {services}");
}
