//! A program that is written to while it runs, and whose end is seen.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};

use super::cancellation::CancellationToken;
use super::command::{Command, CommandError, last_error_line, nameless, text_of};

/// A running program. Where this is dropped it runs on, until it has read what it was given.
#[derive(Debug)]
pub struct FedProgram {
    command: Command,
    handle: duct::Handle,
    /// `None` once nothing more is written.
    input: Option<PipeWriter>,
    /// Its standard output, which the program closes when it ends.
    ended: PipeReader,
    stderr: File,
}

impl FedProgram {
    /// Starts it. The input that the command may have is not used.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn start(command: &Command) -> Result<Self, CommandError> {
        log::debug!("[#] {command}");
        Self::try_start(command).map_err(|source| command.not_run(source))
    }

    fn try_start(command: &Command) -> io::Result<Self> {
        let stderr = nameless()?;
        let (ended, stdout) = io::pipe()?;
        let (stdin, input) = io::pipe()?;
        let handle = command
            .expression()
            .stdin_file(stdin)
            .stdout_file(stdout)
            .stderr_file(stderr.try_clone()?)
            .start()?;
        Ok(Self {
            command: command.clone(),
            handle,
            input: Some(input),
            ended,
            stderr,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> Option<u32> {
        self.handle.pids().first().copied()
    }

    /// A pipe whose other end is closed when the program ends.
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }

    /// Writes more to its standard input.
    ///
    /// # Errors
    /// When it reads no more.
    pub fn feed(&mut self, text: &str) -> io::Result<()> {
        match &mut self.input {
            Some(input) => input.write_all(text.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Nothing more is written: it reads the end of its input.
    pub fn close_input(&mut self) {
        self.input = None;
    }

    /// Whether more can be written.
    pub fn is_open(&self) -> bool {
        self.input.is_some()
    }

    /// Waits for its end, which nothing interrupts.
    ///
    /// # Errors
    /// When it ends with a failure.
    pub fn finish(mut self) -> Result<(), CommandError> {
        self.close_input();
        let not_run = |source| self.command.not_run(source);
        let status = self.handle.wait().map_err(not_run)?.status;
        let stderr = text_of(self.stderr).map_err(not_run)?;
        let never = CancellationToken::never();
        self.command.judge(status, last_error_line(&stderr), &never)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::time::{Duration, Instant};

    fn bash(text: &str) -> FedProgram {
        FedProgram::start(&Command::new("bash", ["-c", text])).unwrap()
    }

    #[test]
    fn what_is_written_is_read_at_once_and_one_after_the_other() {
        let mut program = bash("while read -r line; do echo \"<$line>\"; done");
        for line in ["one", "two"] {
            program.feed(&format!("{line}\n")).unwrap();
            let mut answer = [0; 6];
            program.ended.read_exact(&mut answer).unwrap();
            assert_eq!(answer, format!("<{line}>\n").as_bytes());
        }
        assert!(program.is_open());
        program.finish().unwrap();
    }

    #[test]
    fn a_failure_has_the_last_line_of_what_it_said() {
        let mut program = bash("read -r line; echo \"no $line\" >&2; exit 3");
        program.feed("way\n").unwrap();
        let error = program.finish().unwrap_err().to_string();
        assert_eq!(error, "bash: exit status 3: no way");
    }

    #[test]
    fn who_has_ended_is_written_to_no_more() {
        let mut program = bash("exit 4");
        program.ended.read_to_end(&mut Vec::new()).unwrap();
        // What another test starts holds our pipes until it has become another program.
        while program.feed("anything\n").is_ok() {
            std::thread::yield_now();
        }
        let error = program.finish().unwrap_err().to_string();
        assert_eq!(error, "bash: exit status 4");
    }

    #[test]
    fn the_end_of_the_input_is_read_before_the_program_is_waited_for() {
        let begun = Instant::now();
        let mut program = bash("read -rd '' all; [[ $all == whole* ]] || exit 1");
        program.feed("whole\n").unwrap();
        program.close_input();
        assert!(!program.is_open() && program.feed("more\n").is_err());
        program.finish().unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
}
