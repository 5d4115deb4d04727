//! As much of XML-RPC as rTorrent needs: calls with texts, answers of one value.

use roxmltree::{Document, Node, ParsingOptions};

/// Far above an answer of one value.
const MAX_NODES: u32 = 1000;

/// What was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RpcAnswer {
    /// The text of the value, of whatever type.
    Value(String),
    Fault,
}

/// The text of a call.
pub(super) fn call(method: &str, parameters: &[&str]) -> String {
    let parameters: String = parameters
        .iter()
        .map(|text| {
            let text = text.replace('&', "&amp;").replace('<', "&lt;");
            format!("<param><value><string>{text}</string></value></param>")
        })
        .collect();
    format!(
        "<?xml version=\"1.0\"?><methodCall><methodName>{method}</methodName>\
         <params>{parameters}</params></methodCall>"
    )
}

/// `None` where that is no answer.
pub(super) fn answer(bytes: &[u8]) -> Option<RpcAnswer> {
    let text = String::from_utf8_lossy(bytes);
    let limited = ParsingOptions {
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text.trim(), limited).ok()?;
    let root = document.root_element();
    if !root.has_tag_name("methodResponse") {
        return None;
    }
    if root.children().any(|child| child.has_tag_name("fault")) {
        return Some(RpcAnswer::Fault);
    }
    let value = root.descendants().find(|node| node.has_tag_name("value"))?;
    let text = value
        .descendants()
        .filter_map(|node: Node<'_, '_>| node.is_text().then(|| node.text()).flatten());
    Some(RpcAnswer::Value(text.collect::<String>().trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whatever_their_type() {
        let of = |value: &str| {
            let text = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n<params>\r\n\
                 <param><value>{value}</value></param>\r\n</params>\r\n</methodResponse>\r\n"
            );
            answer(text.as_bytes())
        };
        let value = |text: &str| Some(RpcAnswer::Value(text.to_owned()));
        assert_eq!(of("<i8>50000</i8>"), value("50000"));
        assert_eq!(of("<string>1-2</string>"), value("1-2"));
        assert_eq!(of("a &amp; b"), value("a & b"));
        assert_eq!(of("<string/>"), value(""));
        let fault = "<methodResponse><fault><value><i4>1</i4></value></fault></methodResponse>";
        assert_eq!(answer(fault.as_bytes()), Some(RpcAnswer::Fault));
        let many = format!("<methodResponse>{}</methodResponse>", "<a/>".repeat(1000));
        for odd in [
            &many,
            "",
            "<html><value>1</value></html>",
            "<methodResponse>",
        ] {
            assert_eq!(answer(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn a_text_is_no_markup() {
        assert!(call("a.b", &["<&"]).contains("<string>&lt;&amp;</string>"));
    }
}
