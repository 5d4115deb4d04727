//! What clients of the control socket send, and the file that keeps a choice.

use wireguard_pia::parser_internals::control_message::{parse_kept, parse_request};

use super::engine;

#[test]
fn control_message() {
    engine::run("control_message", |bytes, _| {
        if let Ok(request) = parse_request(bytes) {
            let shown = request.to_string();
            assert!(!shown.contains(char::is_control), "{shown:?}");
            let line = serde_json::to_vec(&request).unwrap();
            assert_eq!(parse_request(&line).unwrap(), request);
        }
        if let Ok(kept) = parse_kept(bytes) {
            assert!(!kept.to_string().contains(char::is_control));
            let text = serde_json::to_vec(&kept).unwrap();
            assert_eq!(parse_kept(&text).unwrap(), kept);
        }
    });
}
