//! What tests quote is what the documents say: `"words" (README.md)` in a comment.

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
