//! What tests quote is what the documents say: `"words" (README.md)` in a comment; and the sources
//! that documents name are there.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The words of a text, as they read: quoted or not, wherever lines end.
fn words(text: &str) -> String {
    let plain = text.replace(['`', '*'], "");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The comments of a file, each in one line.
fn comments(text: &str) -> Vec<String> {
    let mut comments = vec![String::new()];
    for line in text.lines() {
        let line = line.trim_start();
        match line.strip_prefix("//") {
            Some(comment) => {
                let comment = comment.trim_start_matches(['/', '!']);
                comments.last_mut().unwrap().push_str(comment);
            }
            None => comments.push(String::new()),
        }
    }
    comments
}

/// What a comment quotes, and from which document.
fn citations(comment: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (end, _) in comment.match_indices("\" (") {
        let document = comment[end + 3..].split(')').next().unwrap();
        let is_one = document.ends_with(".md") || document == "Dockerfile";
        if let (Some(begin), true) = (comment[..end].rfind('"'), is_one) {
            found.push((comment[begin + 1..end].to_owned(), document.to_owned()));
        }
    }
    found
}

#[test]
fn what_tests_quote_is_what_the_documents_say() {
    let mut files = Vec::new();
    rust_files(&root().join("tests"), &mut files);
    let (mut quoted, mut wrong) = (0, Vec::new());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let comments = comments(&text);
        for (quote, document) in comments.iter().flat_map(|comment| citations(comment)) {
            let said = fs::read_to_string(root().join(&document)).unwrap_or_default();
            if !words(&said).contains(&words(&quote)) {
                let name = file.strip_prefix(root()).unwrap().display();
                wrong.push(format!("{name}: {document} does not say: {quote}"));
            }
            quoted += 1;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(quoted > 50, "only {quoted} quotations were found");
}

/// The source files that a text names in code, from the repository's folder on.
fn named_sources(text: &str) -> Vec<&str> {
    let is_source = |name: &&str| {
        let is_ours = ["src/", "tests/", "scripts/"]
            .iter()
            .any(|it| name.starts_with(it));
        // A placeholder is no file: `src/port_clients/NAME.rs`, `tests/*.rs`.
        is_ours
            && name.ends_with(".rs")
            && !name.contains(|c: char| c == '*' || c.is_ascii_uppercase())
    };
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(is_source)
        .collect()
}

#[test]
fn the_sources_that_documents_name_are_there() {
    let documents = ["docs", "docs/decisions", "."]
        .into_iter()
        .flat_map(|folder| {
            let entries = fs::read_dir(root().join(folder)).unwrap();
            entries.map(|entry| entry.unwrap().path())
        });
    let (mut named, mut missing) = (0, Vec::new());
    for document in documents.filter(|path| path.extension().is_some_and(|end| end == "md")) {
        let text = fs::read_to_string(&document).unwrap();
        for source in named_sources(&text) {
            named += 1;
            if !root().join(source).exists() {
                let name = document.strip_prefix(root()).unwrap().display();
                missing.push(format!("{name}: {source}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(named > 10, "only {named} sources were found");
}
