//! Questions to a part of the kernel that has a family of its own in generic netlink
//! (linux/genetlink.h).

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use nix::sys::socket::SockProtocol;

use super::netlink::{self, attributes, text_attribute};

/// The family by which others are found.
const CONTROL: u16 = 16;
const CONTROL_VERSION: u8 = 1;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Command, version, and two bytes that are kept for later.
const HEADER_LENGTH: usize = 4;

/// Asks a family for a list, and hands on each message of the answer without its headers.
///
/// # Errors
/// When the kernel has no such family, or refuses.
pub fn list(
    family: &str,
    version: u8,
    command: u8,
    question: &[u8],
    each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut id = None;
    let name = text_attribute(FAMILY_NAME, family);
    let asked = (CONTROL, CONTROL_VERSION, GET_FAMILY);
    ask(asked, NLM_F_ACK, &name, |answer| {
        for attribute in attributes(answer) {
            let attribute = attribute?;
            if attribute.kind() == FAMILY_ID {
                let bytes = attribute.value().first_chunk().copied();
                id = bytes.map(u16::from_ne_bytes);
            }
        }
        Ok(())
    })?;
    let id = id.ok_or(io::ErrorKind::NotFound)?;
    ask((id, version, command), NLM_F_DUMP, question, each)
}

fn ask(
    (family, version, command): (u16, u8, u8),
    flags: u16,
    question: &[u8],
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let body = [&[command, version, 0, 0], question].concat();
    let flags = NLM_F_REQUEST | flags;
    netlink::ask_by(
        SockProtocol::NetlinkGeneric,
        family,
        flags,
        &body,
        |answer| each(answer.get(HEADER_LENGTH..).unwrap_or_default()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The control family lists itself.
    #[test]
    fn a_family_that_is_there_answers_and_another_does_not() {
        let mut names = Vec::new();
        list("nlctrl", 1, GET_FAMILY, &[], |answer| {
            for attribute in attributes(answer) {
                let attribute = attribute?;
                if attribute.kind() == FAMILY_NAME {
                    names.push(String::from_utf8_lossy(attribute.value()).into_owned());
                }
            }
            Ok(())
        })
        .unwrap();
        assert!(names.contains(&"nlctrl\0".to_owned()), "{names:?}");
        assert!(list("no such family", 1, 0, &[], |_| Ok(())).is_err());
    }
}
