//! `status --watch`: the page, renewed until it is interrupted. Nothing is forked for it.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::system::cancellation::CancellationToken;
use crate::system::signals;

/// How often is looked.
const INTERVAL: Duration = Duration::from_secs(1);

/// A screen of its own, which leaves the terminal's other content as it is; no cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// From the upper left corner over what is there, so that nothing is ever blank in between.
const HOME: &str = "\x1b[H";
const END_OF_LINE: &str = "\x1b[K\r\n";
const REST_OF_SCREEN: &str = "\x1b[J";

/// What is shown at a moment.
pub(super) struct Page {
    pub text: String,
    /// What makes another page of it: the same, but for what goes on by itself.
    pub sign: String,
}

/// Shows what `page` returns, again and again, until a stop signal, or until nobody reads it any
/// more: on a terminal in place, elsewhere each page that differs from the one before, and an empty
/// line between two (none, where programs read them).
///
/// # Errors
/// When signals cannot be handled.
pub(super) fn show(is_for_programs: bool, mut page: impl FnMut() -> Page) -> io::Result<()> {
    let stop = CancellationToken::new();
    let gone = stop.clone();
    signals::watch(&stop, || (), move || gone.cancel())?;
    let in_place = !is_for_programs && io::stdout().is_terminal();
    let mut last: Option<Page> = None;
    if in_place {
        write(ENTER);
    }
    loop {
        let now = page();
        let text = match &last {
            _ if in_place => in_place_of_the_last(&now.text),
            None => now.text.clone(),
            Some(last) if last.sign == now.sign => String::new(),
            Some(_) if is_for_programs => now.text.clone(),
            Some(_) => format!("\n{}", now.text),
        };
        let is_read = write(&text);
        last = Some(now);
        if !is_read || stop.pause(INTERVAL).is_err() {
            break;
        }
    }
    if in_place {
        write(LEAVE);
        write(&last.map(|last| last.text).unwrap_or_default());
    }
    Ok(())
}

/// In one piece; whether somebody still reads it.
fn write(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

fn in_place_of_the_last(text: &str) -> String {
    let lines: String = text
        .lines()
        .map(|line| format!("{line}{END_OF_LINE}"))
        .collect();
    format!("{HOME}{lines}{REST_OF_SCREEN}")
}
