//! What clients of the status server send.

use wireguard_pia::parser_internals::http_head;

use super::engine;

#[test]
fn http_head() {
    engine::run("http_head", |bytes, _| {
        if let Ok(Some(head)) = http_head::parse(bytes) {
            assert!(!head.method.is_empty());
            assert!(!head.path.contains(['?', '#', '\r', '\n']));
        }
    });
}
