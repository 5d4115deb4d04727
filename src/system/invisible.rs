//! Letters that have no place in a message.

/// Whether a letter changes how the text around it looks without showing itself: control
/// characters, marks of the writing direction, and whatever else Rust prints as an escape.
pub fn is_invisible(letter: char) -> bool {
    letter.is_control() || letter.escape_debug().nth(1) == Some('u')
}
