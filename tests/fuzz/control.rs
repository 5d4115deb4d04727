//! What clients of the control socket send, and the file that keeps a choice.

use wireguard_pia::parser_internals::control_message::parse_request;
use wireguard_pia::parser_internals::kept_choice;

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
        if let Ok(kept) = kept_choice::parse(bytes) {
            assert!(!kept.choice.to_string().contains(char::is_control));
            let text = serde_json::to_vec(&kept).unwrap();
            assert_eq!(kept_choice::parse(&text).unwrap(), kept);
        }
    });
}
