//! What must hold of every message.

/// Stands for a password or token in requests; its letters are written otherwise in each encoding.
pub const SECRET: &str = "S3cr3t+/pass&=w\"rd%~";
/// As servers may send it back: of forms and addresses, JSON, HTML, base64.
pub const ENCODED_SECRETS: &[&str] = &[
    "S3cr3t%2B%2Fpass%26%3Dw%22rd%25~",
    "S3cr3t%2b%2fpass%26%3dw%22rd%25%7e",
    "S3cr3t+/pass&=w\\\"rd%~",
    "S3cr3t+/pass&amp;=w&quot;rd%~",
    "UzNjcjN0Ky9wYXNzJj13InJkJX4=",
];

/// One line of visible letters.
pub fn assert_is_visible(text: &str) {
    let odd = text.chars().find(|letter| is_odd(*letter));
    assert_eq!(odd, None, "invisible letter in {text:?}");
}

/// As [`assert_is_visible`], of an answer to a request that held the secret.
pub fn assert_is_a_message(message: &str) {
    assert_is_visible(message);
    for secret in [&[SECRET], ENCODED_SECRETS].concat() {
        assert!(!message.contains(secret), "secret in {message:?}");
    }
}

/// Ends lines, moves a terminal's cursor, or turns a line round.
fn is_odd(letter: char) -> bool {
    const MARKS: [char; 4] = ['\u{2028}', '\u{2029}', '\u{200e}', '\u{200f}'];
    let is_direction =
        ('\u{202a}'..='\u{202e}').contains(&letter) || ('\u{2066}'..='\u{2069}').contains(&letter);
    letter.is_control() || MARKS.contains(&letter) || is_direction
}
