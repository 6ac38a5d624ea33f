//! One step of a message's way, as a span.

use std::borrow::Cow;
use std::time::Instant;

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::Trace;
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
        }
    }

    const fn kind(self) -> SpanKind {
        match self {
            Self::Intake => SpanKind::Consumer,
            Self::Send => SpanKind::Client,
            Self::Publish => SpanKind::Producer,
            Self::Decide | Self::Begin | Self::Settle => SpanKind::Internal,
        }
    }
}

/// The span of a caller that a job came from (W3C Trace Context, `traceparent`). It is linked to: a message has a trace of
/// its own, for it may live for days, and its job may have been one of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    trace: TraceId,
    span: SpanId,
}

impl Caller {
    /// Reads a `traceparent`; `None`: it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let hex = |text: &str, digits| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let known = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        // Versions to come may add parts.
        if !known || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let caller = Self { trace: TraceId::from_hex(trace).ok()?, span: SpanId::from_hex(span).ok()? };
        (caller.trace != TraceId::INVALID && caller.span != SpanId::INVALID).then_some(caller)
    }

    fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, TraceFlags::SAMPLED, true, TraceState::default())
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
    /// A step from one instant to another; it hangs on the message's intake.
    pub fn step(self, step: Step, from: Instant, to: Instant) -> Span<'t> {
        let root = half(self.message.0);
        let (id, parent) = match step {
            Step::Intake => (root, SpanId::INVALID),
            _ => (SpanId::from(rand::random::<u64>().max(1)), root),
        };
        let trace = TraceId::from(self.message.0.as_u128());
        let context = SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::default());
        let data = SpanData {
            span_context: context,
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: step.kind(),
            name: Cow::Borrowed(step.as_str()),
            start_time: self.desk.time(from),
            end_time: self.desk.time(to.max(from)),
            attributes: Vec::with_capacity(8),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.desk.scope.clone(),
        };
        Span { trace: self, data }.with("outreach.message_id", self.message.to_string())
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
        let context = &self.data.span_context;
        self.data.span_context = SpanContext::new(
            context.trace_id(),
            half(attempt.0),
            context.trace_flags(),
            false,
            TraceState::default(),
        );
        self.with("outreach.attempt_id", attempt.to_string())
    }

    /// It hangs on the span of this attempt.
    pub fn after_attempt(mut self, attempt: AttemptId) -> Self {
        self.data.parent_span_id = half(attempt.0);
        self.with("outreach.attempt_id", attempt.to_string())
    }

    /// A caller's span led to it.
    pub fn led_to_by(mut self, caller: Option<Caller>) -> Self {
        self.data.links.links.extend(caller.map(|caller| Link::with_context(caller.context())));
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

/// The half of an id in which chance lies. Never zero: a UUID's variant stands in it.
fn half(id: uuid::Uuid) -> SpanId {
    let [.., a, b, c, d, e, f, g, h] = *id.as_bytes();
    SpanId::from_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// W3C Trace Context, 3.2.
    #[test]
    fn a_callers_span_is_read_as_it_is_written() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let caller = Caller::parse(good).unwrap();
        assert_eq!(caller.trace.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(caller.span.to_string(), "b7ad6b7169203331");
        assert!(
            Caller::parse("cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes").is_some()
        );
        for bad in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b71692033311-01",
        ] {
            assert_eq!(Caller::parse(bad), None, "{bad}");
        }
    }
}
