//! The hook by which a test proves that an attempt was written down before the wire was touched.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::hits::Hit;

/// Failures kept for inspection; the rest is only counted.
const KEPT_FAILURES: usize = 100;

/// Looks at a hit before it is answered, over a connection of its own.
#[async_trait]
pub trait Auditor: Send + Sync + std::fmt::Debug {
    /// Whether the ledger already holds a committed attempt for this hit.
    async fn is_on_record(&self, hit: &Hit) -> bool;
}

/// What the auditor said.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct AuditStats {
    /// Hits shown to the auditor.
    pub checked: u64,
    /// Hits it did not find on record.
    pub missing: u64,
    /// The first of those.
    pub examples: Vec<Hit>,
}

/// Shows every n-th hit to the auditor.
#[derive(Debug)]
pub(super) struct Sampler {
    auditor: Option<Arc<dyn Auditor>>,
    every: u64,
    seen: AtomicU64,
    checked: AtomicU64,
    missing: AtomicU64,
    examples: Mutex<Vec<Hit>>,
}

impl Sampler {
    pub(super) fn new(auditor: Option<Arc<dyn Auditor>>, every: u64) -> Self {
        Self {
            auditor,
            every: every.max(1),
            seen: AtomicU64::new(0),
            checked: AtomicU64::new(0),
            missing: AtomicU64::new(0),
            examples: Mutex::default(),
        }
    }

    pub(super) async fn look(&self, hit: &Hit) {
        let Some(auditor) = &self.auditor else { return };
        if !self.seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.every) {
            return;
        }
        let found = auditor.is_on_record(hit).await;
        self.checked.fetch_add(1, Ordering::Relaxed);
        if !found {
            self.missing.fetch_add(1, Ordering::Relaxed);
            let mut examples = self.examples.lock().unwrap_or_else(PoisonError::into_inner);
            if examples.len() < KEPT_FAILURES {
                examples.push(*hit);
            }
        }
    }

    pub(super) fn stats(&self) -> AuditStats {
        AuditStats {
            checked: self.checked.load(Ordering::Relaxed),
            missing: self.missing.load(Ordering::Relaxed),
            examples: self.examples.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
