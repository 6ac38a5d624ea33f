//! A thread of its own for what leaves: whoever waits for a slot of the rate gate wakes on time, however busy the stages
//! before are. Nothing here waits for the ledger.

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Where sends run.
#[derive(Debug)]
pub(super) struct Wire(Option<Runtime>);

impl Wire {
    /// Starts the thread; where there is none to be had, sends run where everything does.
    pub(super) fn start() -> Self {
        let thread =
            Builder::new_multi_thread().worker_threads(1).thread_name("outreachd-wire").enable_all().build();
        let thread = thread.inspect_err(|error| tracing::warn!(%error, "sends have no thread of their own"));
        Self(thread.ok())
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        send: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.0 {
            Some(thread) => thread.spawn(send),
            None => tokio::spawn(send),
        }
    }
}

impl Drop for Wire {
    /// It may be dropped where nobody may wait for it.
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            thread.shutdown_background();
        }
    }
}
