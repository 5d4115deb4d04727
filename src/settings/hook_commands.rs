//! The users' command lines.

use super::values::ShellCode;
use super::variables::Variables;

/// The users' command lines, one a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookCommands {
    pub pre_up: Option<String>,
    pub post_up: Option<String>,
    pub pre_down: Option<String>,
    pub post_down: Option<String>,
    pub pre_reconnect: Option<String>,
    pub post_reconnect: Option<String>,
}

impl HookCommands {
    pub(super) fn of(variables: &Variables) -> Self {
        Self {
            pre_up: ShellCode::text(&variables.pre_up),
            post_up: ShellCode::text(&variables.post_up),
            pre_down: ShellCode::text(&variables.pre_down),
            post_down: ShellCode::text(&variables.post_down),
            pre_reconnect: ShellCode::text(&variables.pre_reconnect),
            post_reconnect: ShellCode::text(&variables.post_reconnect),
        }
    }
}
