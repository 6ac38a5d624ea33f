//! Traces, for people who look at several systems at once: what each message went through, from its job to the provider's
//! reference, as OpenTelemetry spans by OTLP over HTTP with protobuf.
//!
//! A message lies in the ledger for hours, and other processes may take it up again, so nobody carries its trace along:
//! **the trace's id is the message's id**, and the spans that others hang on have ids that follow from those of the message
//! and of its attempt. Spans are written when a step is over, with the instants that were read anyway. Whether a message is
//! traced follows from its id too, so that a trace is whole or not there.
//!
//! Nothing waits for a collector: spans stand in a bounded queue, and what does not fit, or is not taken, is dropped and
//! counted. Switched off, a step costs one look at an empty option. No span holds a name, an address, a number or a text.

mod export;
mod span;
mod traceparent;

use std::sync::Arc;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;
use tokio::sync::mpsc;

pub use self::export::{Exporter, Unusable, start};
pub use self::span::{Span, Step};
pub use self::traceparent::TraceParent;
use crate::domain::ids::MessageId;

/// Where spans are handed in; switched off, nobody takes any.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Desk>>);

#[derive(Debug)]
struct Desk {
    queue: mpsc::Sender<SpanData>,
    /// Of 2^32 messages so many are traced.
    share: u64,
    scope: InstrumentationScope,
}

/// A message that is traced.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'t> {
    desk: &'t Desk,
    message: MessageId,
}

impl Traces {
    fn new(queue: mpsc::Sender<SpanData>, ratio: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number from 0 to 2^32, to which the configuration's bounds lead"
        )]
        let share = (ratio * 4_294_967_296.0) as u64;
        let scope =
            InstrumentationScope::builder("outreachd").with_version(env!("CARGO_PKG_VERSION")).build();
        Self(Some(Arc::new(Desk { queue, share, scope })))
    }

    /// Whether anything is traced.
    #[must_use]
    pub fn are_on(&self) -> bool {
        self.0.is_some()
    }

    /// The trace of a message; `None`: it is none of those that are traced.
    #[must_use]
    pub fn of(&self, message: MessageId) -> Option<Trace<'_>> {
        let desk = self.0.as_deref()?;
        // The last four bytes of a UUID of version 7 are chance.
        let chance = message.0.as_u128() & u128::from(u32::MAX);
        (chance < u128::from(desk.share)).then_some(Trace { desk, message })
    }
}

impl Desk {
    fn hand_in(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            metrics::counter!("outreachd_spans_dropped_total", "why" => "queue_full").increment(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_message_is_traced_by_its_id_or_not_at_all() {
        let (queue, _kept) = mpsc::channel(1);
        let traced = |ratio| {
            let traces = Traces::new(queue.clone(), ratio);
            (0..2_000).filter(|_| traces.of(MessageId::generate()).is_some()).count()
        };
        assert_eq!((traced(0.0), traced(1.0)), (0, 2_000));
        let half = traced(0.5);
        assert!((800..1_200).contains(&half), "{half}");
        let traces = Traces::new(queue.clone(), 0.5);
        let id = |n: u128| MessageId(Uuid::from_u128(n));
        for _ in 0..2 {
            assert!(traces.of(id(0x7fff_ffff)).is_some() && traces.of(id(0x8000_0000)).is_none());
        }
        assert!(Traces::default().of(id(0)).is_none() && !Traces::default().are_on());
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_nobody_waits() {
        let (queue, mut kept) = mpsc::channel(2);
        let traces = Traces::new(queue, 1.0);
        let now = Instant::now();
        for _ in 0..5 {
            traces.of(MessageId::generate()).unwrap().step(Step::Decide, now, now).end();
        }
        assert!(kept.try_recv().is_ok() && kept.try_recv().is_ok() && kept.try_recv().is_err());
    }
}
