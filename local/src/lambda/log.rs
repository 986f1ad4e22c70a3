//! A function's log file, and how an environment's output gets into it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

/// Longer lines are split, as in CloudWatch Logs:
/// [256 KB](https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html).
const LONGEST_LINE: usize = 256 * 1024;

/// One function's log; all its environments write to it.
#[derive(Debug)]
pub(super) struct Log(File);

impl Log {
    /// Starts a new log. An earlier run's lines would be counted in this run's report.
    pub(super) fn create(path: &Path) -> io::Result<Log> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        File::create(path)?;
        Ok(Log(OpenOptions::new().append(true).open(path)?))
    }

    /// Appends whole lines.
    ///
    /// One `write` in append mode is atomic, so there is no lock. It ends in the page cache, so it
    /// does not block. A full disk must not stop functions, so errors are dropped.
    pub(super) fn write(&self, lines: impl AsRef<[u8]>) {
        let _ = (&self.0).write_all(lines.as_ref());
    }
}

/// Standard output and error of one environment.
#[derive(Debug)]
pub(super) struct Output {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Reads without waiting, from the same pipe as the pump.
    reader: PipeReader,
    log: Arc<Log>,
    /// The beginning of a line that is not complete yet.
    partial: Mutex<Vec<u8>>,
}

impl Output {
    /// One pipe for both streams keeps the order of lines between them.
    pub(super) fn start(log: Arc<Log>) -> io::Result<(Output, PipeWriter)> {
        let (reader, writer) = io::pipe()?;
        // This also makes the pipe non-blocking, for `reader` too.
        let pipe = Receiver::from_owned_fd(reader.try_clone()?.into())?;
        let shared = Arc::new(Shared {
            reader,
            log,
            partial: Mutex::default(),
        });
        let pump = tokio::spawn({
            let shared = Arc::clone(&shared);
            async move {
                while pipe.readable().await.is_ok() {
                    match shared.copy(|buffer| pipe.try_read(buffer)) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                }
            }
        });
        Ok((Output { shared, pump }, writer))
    }

    /// Writes everything printed so far, so that Lambda's next lines come after it. Completes a
    /// line without an end.
    pub(super) fn flush(&self) {
        // Not through the pump's end, which learns of output only once the runtime has polled.
        while matches!(
            self.shared
                .copy(|buffer| (&self.shared.reader).read(buffer)),
            Ok(1..)
        ) {}
        let mut partial = self
            .shared
            .partial
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !partial.is_empty() {
            partial.push(b'\n');
            self.shared.log.write(&*partial);
            partial.clear();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
        self.pump.abort();
    }
}

impl Shared {
    /// Reads once and writes the complete lines. Zero means the end of the pipe.
    fn copy(&self, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let length = loop {
            match read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        partial.extend_from_slice(&buffer[..length]);
        if partial.len() >= LONGEST_LINE && !partial.contains(&b'\n') {
            partial.push(b'\n');
        }
        if let Some(end) = partial.iter().rposition(|byte| *byte == b'\n') {
            self.log.write(&partial[..=end]);
            partial.drain(..=end);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_printed_ends_before_what_follows_a_flush() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("logs/Function.log");
        let log = Arc::new(Log::create(&path).expect("the log is created"));
        let (output, mut writer) = Output::start(Arc::clone(&log)).expect("a pipe");
        writer.write_all(b"one\ntw").expect("the pipe takes it");
        output.flush();
        log.write("END\n");
        writer.write_all(b"three\n").expect("the pipe takes it");
        drop(writer);
        drop(output);
        let text = std::fs::read_to_string(&path).expect("the log can be read");
        assert_eq!(text, "one\ntw\nEND\nthree\n");
    }

    #[tokio::test]
    async fn a_line_without_end_is_broken_rather_than_kept() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("Function.log");
        let log = Arc::new(Log::create(&path).expect("the log is created"));
        let (output, mut writer) = Output::start(log).expect("a pipe");
        let length = 3 * LONGEST_LINE;
        let printer = std::thread::spawn(move || writer.write_all(&vec![b'x'; length]));
        tokio::task::spawn_blocking(|| printer.join())
            .await
            .expect("joined")
            .expect("printed")
            .expect("written");
        drop(output);
        let text = std::fs::read_to_string(&path).expect("the log can be read");
        assert!(
            text.lines()
                .all(|line| line.len() < LONGEST_LINE + 16 * 1024)
        );
        assert_eq!(text.chars().filter(|c| *c == 'x').count(), length);
    }
}
