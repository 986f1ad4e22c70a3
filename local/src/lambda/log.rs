//! A function's log file, and how an environment's output gets into it.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, PipeReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

/// Longer lines are split, as in CloudWatch Logs:
/// [256 KB](https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html).
const LONGEST_LINE: usize = 256 * 1024;

/// Bytes of an invocation's log that
/// [`Invoke`](https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html) returns.
const LOG_TAIL: usize = 4096;

/// One function's log file; all its environments write to it.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    /// Before each line on the terminal, if the lines go there too.
    prefix: Option<String>,
}

impl LogFile {
    /// Starts a new log. An earlier run's lines would be counted in this run's report.
    pub(super) fn create(path: &Path, prefix: Option<String>) -> io::Result<LogFile> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        File::create(path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(LogFile { file, prefix })
    }

    /// Appends whole lines.
    ///
    /// One `write` in append mode is atomic, so there is no lock. It ends in the page cache, so it
    /// does not block. A full disk must not stop functions, so errors are dropped.
    fn write(&self, lines: &[u8]) {
        let _ = (&self.file).write_all(lines);
        if let Some(prefix) = &self.prefix {
            let lines = lines.split_inclusive(|byte| *byte == b'\n');
            let prefixed: Vec<u8> = lines
                .flat_map(|line| [prefix.as_bytes(), line])
                .flatten()
                .copied()
                .collect();
            let _ = io::stderr().write_all(&prefixed);
        }
    }
}

/// The log of one environment: a part of its function's, of which it knows the last lines.
#[derive(Debug)]
pub(super) struct Log {
    file: Arc<LogFile>,
    tail: Mutex<Vec<u8>>,
}

impl Log {
    pub(super) fn new(file: Arc<LogFile>) -> Log {
        let tail = Mutex::default();
        Log { file, tail }
    }

    /// Appends whole lines.
    pub(super) fn write(&self, lines: impl AsRef<[u8]>) {
        let lines = lines.as_ref();
        self.file.write(lines);
        let mut tail = self.tail.lock();
        tail.extend_from_slice(lines);
        // Not at each line, because the rest has to be moved.
        if tail.len() > 4 * LOG_TAIL {
            let excess = tail.len() - LOG_TAIL;
            tail.drain(..excess);
        }
    }

    /// Forgets the lines of the invocation before.
    pub(super) fn start_tail(&self) {
        self.tail.lock().clear();
    }

    /// The last bytes since the start.
    pub(super) fn tail(&self) -> Bytes {
        let tail = self.tail.lock();
        Bytes::copy_from_slice(&tail[tail.len().saturating_sub(LOG_TAIL)..])
    }
}

#[derive(Debug)]
pub(super) struct Output {
    pipe: Arc<Pipe>,
    pump: JoinHandle<()>,
}

#[derive(Debug)]
struct Pipe {
    /// Reads without waiting, from the same pipe as the pump.
    reader: PipeReader,
    log: Arc<Log>,
    /// The beginning of a line that is not complete yet.
    partial: Mutex<Vec<u8>>,
    /// Bytes that were read and not taken yet.
    printed: AtomicU64,
}

impl Output {
    /// Reads from a pipe. One for both streams keeps the order of lines between them.
    pub(super) fn start(reader: PipeReader, log: Arc<Log>) -> io::Result<Output> {
        // This also makes the pipe non-blocking, for `reader` too.
        let receiver = Receiver::from_owned_fd(reader.try_clone()?.into())?;
        let pipe = Arc::new(Pipe {
            reader,
            log,
            partial: Mutex::default(),
            printed: AtomicU64::default(),
        });
        let pump = tokio::spawn({
            let pipe = Arc::clone(&pipe);
            async move {
                while receiver.readable().await.is_ok() {
                    match pipe.copy(|buffer| receiver.try_read(buffer)) {
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Ok(0) | Err(_) => return,
                        Ok(_) => {}
                    }
                }
            }
        });
        Ok(Output { pipe, pump })
    }

    /// Writes everything printed so far, so that Lambda's next lines come after it. Completes a
    /// line without an end.
    pub(super) fn flush(&self) {
        // Not through the pump's end, which learns of output only once the runtime has polled.
        let pipe = &self.pipe;
        while matches!(pipe.copy(|buffer| (&pipe.reader).read(buffer)), Ok(1..)) {}
        let mut partial = pipe.partial.lock();
        if !partial.is_empty() {
            partial.push(b'\n');
            pipe.log.write(&*partial);
            partial.clear();
        }
    }

    /// Bytes that were printed since the last call of this.
    pub(super) fn take_printed(&self) -> u64 {
        self.pipe.printed.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
        self.pump.abort();
    }
}

impl Pipe {
    /// Reads once and writes the complete lines. Zero means the end of the pipe.
    fn copy(&self, read: impl Fn(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let mut partial = self.partial.lock();
        let length = loop {
            match read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        partial.extend_from_slice(&buffer[..length]);
        self.printed.fetch_add(length as u64, Ordering::Relaxed);
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

    fn log(path: &Path) -> Arc<Log> {
        let file = LogFile::create(path, None).expect("the log is created");
        Arc::new(Log::new(Arc::new(file)))
    }

    #[test]
    fn the_tail_has_the_last_four_kilobytes_since_its_start() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = log(&folder.path().join("Function.log"));
        log.write("before\n");
        log.start_tail();
        log.write("START\n");
        assert_eq!(log.tail(), "START\n");
        for n in 0..10_000 {
            log.write(format!("{n:07}\n"));
        }
        let tail = log.tail();
        assert_eq!(tail.len(), LOG_TAIL);
        assert!(tail.ends_with(b"0009998\n0009999\n"));
    }

    #[tokio::test]
    async fn what_is_printed_ends_before_what_follows_a_flush() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("logs/Function.log");
        let log = log(&path);
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let output = Output::start(reader, Arc::clone(&log)).expect("it is read");
        writer.write_all(b"one\ntw").expect("the pipe takes it");
        output.flush();
        assert_eq!(output.take_printed(), 6);
        log.write("END\n");
        assert_eq!(
            output.take_printed(),
            0,
            "what Lambda writes is not printed"
        );
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
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let output = Output::start(reader, log(&path)).expect("it is read");
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
