//! Threads of their own for what leaves: whoever waits for a slot of the rate gate wakes on time, however busy the stages
//! before are. Where the machine allows it they go before all others: a slot that is met late is lost. Nothing here waits
//! for the ledger.

use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

/// Of these: one alone would hold up all sends while it shakes hands. Names are looked up elsewhere.
const THREADS: usize = 2;

/// Where sends run.
#[derive(Debug)]
pub(super) struct Wire {
    threads: Option<Runtime>,
    /// Where all else does.
    home: Handle,
}

impl Wire {
    /// Starts the threads. Where there are none to be had, or one is meant to do everything, sends run where all else does.
    pub(super) fn start() -> Self {
        let home = Handle::current();
        if home.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Self { threads: None, home };
        }
        let threads = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("outreachd-wire")
            .on_thread_start(first)
            .enable_all()
            .build();
        let threads =
            threads.inspect_err(|error| tracing::warn!(%error, "sends have no threads of their own"));
        Self { threads: threads.ok(), home }
    }

    pub(super) fn handle(&self) -> &Handle {
        self.threads.as_ref().map_or(&self.home, Runtime::handle)
    }

    /// For what waits for the ledger.
    pub(super) fn home(&self) -> &Handle {
        &self.home
    }
}

/// Root may do so, and whoever has `RLIMIT_NICE` for it (systemd: `LimitNICE`). Niceness is a thread's own on Linux alone.
fn first() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -10) {
        tracing::debug!(%error, "sends wait their turn for a processor");
    }
}

impl Drop for Wire {
    /// It may be dropped where nobody may wait for it.
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}
