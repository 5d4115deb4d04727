//! What can be said of the repository without running the program: it takes neither root nor any
//! package.

#![cfg(test)]
#![allow(
    clippy::string_slice,
    reason = "a text that is cut within a character fails the test"
)]

mod architecture;
mod citations;
mod image_tree;
mod readme;
mod security_page;
