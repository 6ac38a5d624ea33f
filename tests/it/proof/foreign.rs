//! The producer that is not ours: `publish.py`, which speaks pika.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::{Child, Command};

/// A publisher under way.
#[derive(Debug)]
pub(crate) struct Publishing(Child);

impl Publishing {
    /// Publishes each line of `file` to the exchange under the key.
    pub(crate) fn start(amqp: &str, exchange: &str, key: &str, file: &Path) -> Self {
        let python = std::env::var("OUTREACHD_TEST_PYTHON")
            .expect("OUTREACHD_TEST_PYTHON names a Python with pika; `tests/proof` sees to that");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/proof/publish.py");
        let mut command = Command::new(python);
        command.arg(script).args([amqp, exchange, key]).arg(file).kill_on_drop(true).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// What it confirmed, in how many seconds, over how many connections.
    pub(crate) async fn done(self) -> Value {
        let output = self.0.wait_with_output().await.unwrap();
        assert!(output.status.success(), "publish.py ended with {}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
