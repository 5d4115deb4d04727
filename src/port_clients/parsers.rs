//! The readers of what clients answer, for the fuzzer.

use super::xml_rpc::{self, RpcAnswer};

/// The value in an answer of XML-RPC; a fault is an empty one.
pub fn rpc_answer(bytes: &[u8]) -> Option<String> {
    Some(match xml_rpc::answer(bytes)? {
        RpcAnswer::Value(value) => value,
        RpcAnswer::Fault => String::new(),
    })
}
