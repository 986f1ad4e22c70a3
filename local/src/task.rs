//! Work in the background that can be told to finish, or ended at once.

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server, or the trigger of a queue. It ends at once when dropped.
#[derive(Debug)]
pub struct Task {
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Task {
    /// Starts work that takes on nothing new once the receiver resolves, and then ends by itself.
    pub(crate) fn start<R>(work: impl FnOnce(oneshot::Receiver<()>) -> R) -> Task
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        Task {
            stop: Some(stop),
            task: tokio::spawn(work(stopped)),
        }
    }

    /// Tells it to take on nothing new, and waits for what is under way. Bound it with a timeout: the
    /// rest ends when this is dropped.
    pub async fn shutdown(mut self) {
        drop(self.stop.take());
        // Fails only if the work panicked.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task.abort();
    }
}
