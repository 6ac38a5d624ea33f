//! Two transactions that met.

use std::time::Duration;

use super::{Result, StoreError};

/// Tries again after each of the pauses what another transaction was in the way of: two that meet are no failure.
///
/// # Errors
/// Any other, and that one where it comes to the end of the pauses.
pub async fn again_if_contended<T, F: Future<Output = Result<T>>>(
    pauses: impl IntoIterator<Item = Duration>,
    call: impl Fn() -> F,
) -> Result<T> {
    for pause in pauses {
        match call().await {
            Err(StoreError::Contention) => tokio::time::sleep(pause).await,
            other => return other,
        }
    }
    call().await
}

/// The same for whoever would rather wait a second or two than come back.
///
/// # Errors
/// As [`again_if_contended`].
pub async fn patiently<T, F: Future<Output = Result<T>>>(call: impl Fn() -> F) -> Result<T> {
    again_if_contended((0..10).map(|round| Duration::from_millis(5 << round.min(6))), call).await
}

/// A moment in which another transaction comes to its end, so often.
pub fn moments(count: u32) -> impl Iterator<Item = Duration> {
    (0..count).map(|_| Duration::from_millis(5).mul_f64(1.0 + rand::random::<f64>()))
}
