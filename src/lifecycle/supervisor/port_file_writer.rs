//! The port file, kept as it should be: others may delete it or write into it, and its volume may
//! be read-only for a while.

use std::path::Path;

use crate::container::Container;
use crate::system::files::{FileError, Ownership};
use crate::system::shared_files::{self, Notice};

/// What the port file should say, and what is known of it.
#[derive(Debug, Default)]
pub struct PortFileWriter {
    notice: Notice,
    /// It is to be written even if it says the right thing.
    is_news: bool,
}

impl PortFileWriter {
    /// The next port is written whatever the file says, for those who watch it.
    pub fn write_anew(&mut self) {
        self.is_news = true;
    }

    /// Makes the file say this port, or takes back what it says of a former one of this life. A
    /// failure stands in the status until this succeeds.
    pub fn reconcile(&mut self, port: Option<u16>, container: &Container) -> Result<(), String> {
        let path = &container.settings.port_forwarding.file;
        let done = match port {
            Some(port) => self.write(path, port, container),
            None => self.notice.take_back(path),
        };
        let failure = done.err().map(|error| format!("PORT_FILE: {error}"));
        if container.reporter.current().port_file_error != failure {
            let failure = failure.clone();
            container
                .reporter
                .update(|status| status.port_file_error = failure);
        }
        failure.map_or(Ok(()), Err)
    }

    fn write(&mut self, path: &Path, port: u16, container: &Container) -> Result<(), FileError> {
        let text = format!("{port}\n");
        if !self.is_news {
            if shared_files::holds(path, text.as_bytes()) {
                return Ok(());
            }
            log::info!("PORT_FILE: somebody removed or changed it; it is written again");
            // Said once, and written until that succeeds.
            self.is_news = true;
        }
        let mut write = |ownership| self.notice.say(path, text.as_bytes(), ownership);
        match write(container.settings.port_forwarding.ownership) {
            // PUID is often there for other images; what reads the file has to go on reading it.
            Err(error) if error.is_about_owner() => {
                log::warn!("PUID, PGID: {error}; the port file is ours, and readable by all");
                write(Ownership::own(0o644))?;
            }
            written => written?,
        }
        self.is_news = false;
        Ok(())
    }
}
