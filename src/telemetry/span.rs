//! One step of a message's way, as a span.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use tokio::time::Instant;

use super::{Trace, TraceParent};
use crate::domain::ids::AttemptId;

/// The steps, by the names that spans have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Written to the ledger; all others hang on it.
    Intake,
    /// Decided upon, in one round with others.
    Decide,
    /// The attempt is written down before the wire is touched.
    Begin,
    /// On the wire.
    Send,
    /// What became of it is written down.
    Settle,
    /// An event of it is published.
    Publish,
    /// Its provider says what became of an attempt.
    Receipt,
}

impl Step {
    /// The name of its spans.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intake => "intake",
            Self::Decide => "decide",
            Self::Begin => "begin",
            Self::Send => "send",
            Self::Settle => "settle",
            Self::Publish => "publish",
            Self::Receipt => "receipt",
        }
    }

    const fn kind(self) -> SpanKind {
        match self {
            Self::Intake | Self::Receipt => SpanKind::Consumer,
            Self::Send => SpanKind::Client,
            Self::Publish => SpanKind::Producer,
            Self::Decide | Self::Begin | Self::Settle => SpanKind::Internal,
        }
    }
}

/// A step that is over.
#[derive(Debug)]
#[must_use = "it is handed in by `end`"]
pub struct Span<'t> {
    trace: Trace<'t>,
    data: SpanData,
}

impl<'t> Trace<'t> {
    /// What follows from the message elsewhere hangs on its intake, as its own steps do.
    #[must_use]
    pub fn parent(self) -> TraceParent {
        TraceParent::new(self.id(), half(self.message.0))
    }

    /// A step from one instant to another; it hangs on the message's intake.
    pub fn step(self, step: Step, from: Instant, to: Instant) -> Span<'t> {
        let root = half(self.message.0);
        let (span, parent) = match step {
            Step::Intake => (root, SpanId::INVALID),
            _ => (SpanId::from(rand::random::<u64>().max(1)), root),
        };
        // By the clock of the machine as it stands now: it may have been set since this process began.
        let (now, time) = (Instant::now(), SystemTime::now());
        let at = |instant| time.checked_sub(now.saturating_duration_since(instant)).unwrap_or(time);
        let data = SpanData {
            span_context: context(self.id(), span),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: step.kind(),
            name: Cow::Borrowed(step.as_str()),
            start_time: at(from),
            end_time: at(to.max(from)),
            attributes: Vec::with_capacity(16),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.desk.scope.clone(),
        };
        Span { trace: self, data }.with("outreach.message_id", self.message.to_string())
    }

    fn id(self) -> TraceId {
        TraceId::from(self.message.0.as_u128())
    }
}

impl Span<'_> {
    /// Adds what is known of it: ids, names of ours, codes, counts.
    pub fn with(mut self, key: &'static str, value: impl Into<Value>) -> Self {
        self.data.attributes.push(KeyValue::new(key, value));
        self
    }

    /// The same, where it is known.
    pub fn maybe(self, key: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    /// It is the span of this attempt, on which what comes after the attempt hangs.
    pub fn of_attempt(mut self, attempt: AttemptId) -> Self {
        self.data.span_context = context(self.trace.id(), half(attempt.0));
        self.with("outreach.attempt_id", attempt.to_string())
    }

    /// It hangs on the span of this attempt.
    pub fn after_attempt(mut self, attempt: AttemptId) -> Self {
        self.data.parent_span_id = half(attempt.0);
        self.with("outreach.attempt_id", attempt.to_string())
    }

    /// Another system's span led to it.
    pub fn led_to_by(mut self, other: Option<TraceParent>) -> Self {
        self.data.links.links.extend(other.map(|other| Link::with_context(other.context())));
        self
    }

    /// It went wrong, for this reason: a word of a closed set.
    pub fn failed(mut self, why: impl Into<Cow<'static, str>>) -> Self {
        self.data.status = Status::error(why);
        self
    }

    /// Hands it in.
    pub fn end(self) {
        self.trace.desk.hand_in(self.data);
    }
}

/// A span of ours: what is traced at all is sampled.
fn context(trace: TraceId, span: SpanId) -> SpanContext {
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::default())
}

/// The half of an id in which chance lies. Never zero: a UUID's variant stands in it.
fn half(id: uuid::Uuid) -> SpanId {
    let [.., a, b, c, d, e, f, g, h] = *id.as_bytes();
    SpanId::from_bytes([a, b, c, d, e, f, g, h])
}
