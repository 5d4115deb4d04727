//! The choice of a server that is kept over restarts, as others than the life are told it.

use std::path::Path;

use serde::Deserialize;

use super::message::RequestedServer;
use crate::system::files;

/// What of the file is told: the life that uses it keeps more there.
#[derive(Debug, Deserialize)]
struct ToldChoice {
    #[serde(flatten)]
    choice: RequestedServer,
}

/// The choice in the file; whoever may not read it is told of none.
pub fn choice(file: &Path) -> Option<RequestedServer> {
    let text = files::read_stored(file).ok()??;
    let told: ToldChoice = serde_json::from_str(&text).ok()?;
    told.choice.check().ok()?;
    (told.choice != RequestedServer::Configured).then_some(told.choice)
}

/// The same in words.
pub fn told(file: &Path) -> Option<String> {
    choice(file).map(|choice| choice.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_told_and_what_is_none_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("choice.json");
        assert_eq!(told(&file), None);
        let told_of = |text: &str| {
            std::fs::write(&file, text).unwrap();
            told(&file)
        };
        let seen = r#"{"server":"zurich406","seen":{"location":"swiss","ip":"192.0.2.1"}}"#;
        assert_eq!(told_of(seen).as_deref(), Some("server zurich406"));
        let swiss = "{\"locations\":\"swiss\"}\n";
        assert_eq!(told_of(swiss).as_deref(), Some("swiss"));
        for bad in ["", "swiss", "{\"server\":\"a\\nb\"}", "\"configured\""] {
            assert_eq!(told_of(bad), None, "{bad}");
        }
    }
}
