//! `GET /v1/stream`: what is told of messages, as it is written, by server-sent events (WHATWG HTML, 9.2).
//!
//! However many look on, the ledger is asked by one loop, and by none while nobody does. It reads on by the events' own
//! numbers. These are given out before they are committed, so a number that is missing is asked for again for a while.
//! A reader who is too slow is told how many it missed, and goes on with the newest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream::{once, unfold};
use serde_json::{Map, Value};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Shared;
use super::auth::{Caller, authenticate, authorize};
use super::messages;
use super::problem::{Answer, Fail, Kind};
use super::query::query;
use super::route::Call;
use super::session::BY_ITSELF;
use crate::config::api::Scope;
use crate::store::rows::MessageFilter;
use crate::store::{Result, Store};

/// How often the ledger is asked.
const PAUSE: Duration = Duration::from_millis(250);
/// Events that are read at once.
const AT_ONCE: u32 = 2_000;
/// Who is so far behind goes on with the newest.
const FAR_BEHIND: i64 = 20_000;
/// A missing number is asked for so long ...
const GAP: Duration = Duration::from_secs(5);
/// ... and so many at most.
const GAPS: usize = 1_000;
/// Batches that a reader may lag behind.
const LAG: usize = 64;
/// Readers at once.
const READERS: usize = 64;
/// A sign of life for proxies, and whether the session still stands.
const TICK: Duration = Duration::from_secs(15);

/// One thing that was told: an event, with its `seq` and the `template`.
type Line = Map<String, Value>;

/// What is told to all readers at once.
#[derive(Clone, Debug)]
struct Told {
    lines: Arc<Vec<Line>>,
    /// So many had been told, or passed over, before them.
    before: u64,
}

impl Told {
    /// How many a reader has missed who had `seen` so many; from now on it has seen these.
    fn missed(&self, seen: &mut u64) -> u64 {
        let missed = self.before.saturating_sub(*seen);
        *seen = self.before + count(&self.lines);
        missed
    }
}

/// The one loop, and its readers.
#[derive(Debug)]
pub(super) struct Hub {
    to: broadcast::Sender<Told>,
    /// Whether the loop runs.
    runs: Arc<Mutex<bool>>,
    /// Events that were told or passed over so far.
    count: AtomicU64,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self { to: broadcast::channel(LAG).0, runs: Arc::default(), count: AtomicU64::new(0) }
    }

    /// A reader more, and how much was told before it came; starts the loop where it does not run.
    fn join(&self, shared: &Arc<Shared>) -> Option<(broadcast::Receiver<Told>, u64)> {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        if self.to.receiver_count() >= READERS {
            return None;
        }
        let reader = self.to.subscribe();
        if !*runs {
            *runs = true;
            tokio::spawn(follow(Arc::clone(shared)));
        }
        Some((reader, self.count.load(Ordering::Relaxed)))
    }

    fn tell(&self, Read { passed_over, lines }: Read) {
        let before = passed_over + self.count.fetch_add(passed_over + count(&lines), Ordering::Relaxed);
        // Nobody may be listening by now.
        let _listeners = self.to.send(Told { lines: Arc::new(lines), before });
    }

    /// Whether nobody looks on any more; from then on the loop does not run.
    fn is_deserted(&self) -> bool {
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let deserted = self.to.receiver_count() == 0;
        *runs = !deserted;
        deserted
    }
}

async fn follow(shared: Arc<Shared>) {
    let mut place: Option<Place> = None;
    let mut tick = tokio::time::interval(PAUSE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shared.stop.cancelled() => return,
        }
        if shared.live.is_deserted() {
            return;
        }
        let store = shared.store().as_ref();
        let read = match &mut place {
            Some(place) => place.advance(store).await,
            None => match store.stream_end().await {
                Ok(last) => {
                    place = Some(Place { last, gaps: BTreeMap::new() });
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match read {
            Ok(None) => {}
            Ok(Some(read)) => shared.live.tell(read),
            Err(error) => {
                tracing::warn!(%error, "the live log waits for the ledger");
                tokio::time::sleep(PAUSE * 8).await;
            }
        }
    }
}

/// What the loop has read at once.
#[derive(Debug)]
struct Read {
    /// Events that are told to nobody: the loop was too far behind.
    passed_over: u64,
    lines: Vec<Line>,
}

/// How far the loop has read.
#[derive(Debug)]
struct Place {
    last: i64,
    /// Numbers that were missing, and since when.
    gaps: BTreeMap<i64, Instant>,
}

impl Place {
    /// `None`: there is nothing new.
    async fn advance(&mut self, store: &dyn Store) -> Result<Option<Read>> {
        let gaps: Vec<i64> = self.gaps.keys().copied().collect();
        let events = store.stream(self.last, &gaps, AT_ONCE).await?;
        if events.len() >= usize::try_from(AT_ONCE).unwrap_or(usize::MAX) {
            let behind = store.stream_end().await? - self.last;
            if behind > FAR_BEHIND {
                self.last += behind;
                self.gaps.clear();
                let passed_over = u64::try_from(behind).unwrap_or(0);
                return Ok(Some(Read { passed_over, lines: Vec::new() }));
            }
        }
        let mut lines = Vec::with_capacity(events.len());
        for event in events {
            self.seen(event.ord, Instant::now());
            let Ok(mut line) = serde_json::from_str::<Line>(&event.body) else { continue };
            line.insert("seq".to_owned(), event.seq.into());
            if let Some(template) = &event.template {
                line.insert("template".to_owned(), template.as_str().into());
            }
            lines.push(line);
        }
        self.gaps.retain(|_, since| since.elapsed() < GAP);
        Ok((!lines.is_empty()).then_some(Read { passed_over: 0, lines }))
    }

    fn seen(&mut self, ord: i64, now: Instant) {
        if ord <= self.last {
            self.gaps.remove(&ord);
            return;
        }
        let room = GAPS.saturating_sub(self.gaps.len());
        self.gaps.extend((self.last + 1..ord).rev().take(room).map(|missing| (missing, now)));
        self.last = ord;
    }
}

/// What a reader wants to see, and may.
#[derive(Debug)]
struct Sieve {
    filter: MessageFilter,
    caller: Caller,
}

impl Sieve {
    fn lets(&self, line: &Line) -> bool {
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        let is = |name: &str, wanted: Option<&str>| wanted.is_none_or(|wanted| text(name) == Some(wanted));
        let of_sites = self.caller.sites().is_none_or(|sites| {
            text("site").is_some_and(|site| sites.iter().any(|own| own.as_str() == site))
        });
        let of_sources = self.caller.sources().is_none_or(|sources| {
            text("source").is_some_and(|source| sources.iter().any(|own| own.as_str() == source))
        });
        let wants = &self.filter;
        of_sites
            && of_sources
            && is("status", wants.status.map(|word| word.as_str()))
            && is("reason", wants.reason.map(|word| word.as_str()))
            && is("channel", wants.channel.map(|word| word.as_str()))
            && is("provider", wants.provider.as_ref().map(|name| name.as_str()))
            && is("template", wants.template.as_ref().map(|name| name.as_str()))
            && is("source", wants.source.as_ref().map(|name| name.as_str()))
            && is("site", wants.site.as_ref().map(|name| name.as_str()))
            && is("campaign_id", wants.campaign_id.as_ref().map(|name| name.as_str()))
            && is("patient_id", wants.patient_id.as_ref().map(|name| name.as_str()))
            && is("about", wants.about.as_ref().map(|name| name.as_str()))
            && (wants.job_ids.is_empty()
                || text("job_id").is_some_and(|id| wants.job_ids.iter().any(|job| job.as_str() == id)))
    }
}

/// Somebody who looks on.
struct Onlooker {
    shared: Arc<Shared>,
    reader: broadcast::Receiver<Told>,
    /// Of the events that were told, so many have come here, or were passed over.
    seen: u64,
    sieve: Sieve,
    headers: HeaderMap,
    uri: Uri,
    tick: tokio::time::Interval,
}

impl Onlooker {
    /// What is written next; `None`: it is over.
    async fn next(&mut self) -> Option<String> {
        loop {
            tokio::select! {
                told = self.reader.recv() => match told {
                    Ok(told) => {
                        if let Some(text) = self.tell(&told) {
                            return Some(text);
                        }
                    }
                    // How many is told with what comes next.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
                _ = self.tick.tick() => {
                    return self.may_go_on().await.then(|| ": still here\n\n".to_owned());
                }
                () = self.shared.stop.cancelled() => return None,
            }
        }
    }

    fn tell(&mut self, told: &Told) -> Option<String> {
        let missed = told.missed(&mut self.seen);
        let shown: Vec<&Line> = told.lines.iter().filter(|line| self.sieve.lets(line)).collect();
        let mut text = if missed > 0 { skipped(missed) } else { String::new() };
        if !shown.is_empty() {
            text.push_str(&format!("event: lines\ndata: {}\n\n", serde_json::to_string(&shown).ok()?));
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// Whether the token, the session or the place still opens this, and for whom.
    async fn may_go_on(&mut self) -> bool {
        let caller = authenticate(&self.shared, &self.headers, &self.uri, false).await;
        match caller.and_then(|caller| authorize(&caller, &[Scope::MessagesRead]).map(|()| caller)) {
            Ok(caller) => {
                self.sieve.caller = caller;
                true
            }
            // Without a ledger nothing is streamed anyway.
            Err(fail) => fail.kind() == Kind::Unavailable,
        }
    }
}

fn count(lines: &[Line]) -> u64 {
    u64::try_from(lines.len()).unwrap_or(0)
}

fn skipped(count: u64) -> String {
    format!("event: skipped\ndata: {count}\n\n")
}

/// `GET /v1/stream`: events named `lines` (an array each) and `skipped` (a number).
pub(super) async fn stream(call: Call) -> Answer {
    let filter = query(&call.uri, messages::kind)?;
    let shared = Arc::clone(&call.shared);
    let Some((reader, seen)) = shared.live.join(&shared) else {
        return Err(Fail::new(Kind::Busy, "too many look on already; close another window"));
    };
    let mut headers = call.headers;
    // Looking on keeps no session open.
    headers.insert(BY_ITSELF, HeaderValue::from_static("1"));
    let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + TICK, TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let sieve = Sieve { filter, caller: call.caller };
    let onlooker = Onlooker { shared, reader, seen, sieve, headers, uri: call.uri, tick };
    let hello = Bytes::from_static(b"retry: 2000\n: listening\n\n");
    let body = once(async { Ok::<_, std::io::Error>(hello) }).chain(unfold(onlooker, |mut onlooker| async {
        let text = onlooker.next().await?;
        Some((Ok(Bytes::from(text)), onlooker))
    }));
    let mut response = Response::new(Body::from_stream(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // nginx keeps answers back otherwise.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_number_is_asked_for_again() {
        let mut place = Place { last: 10, gaps: BTreeMap::new() };
        let now = Instant::now();
        for ord in [11, 14, 15] {
            place.seen(ord, now);
        }
        assert_eq!(place.gaps.keys().copied().collect::<Vec<_>>(), [12, 13]);
        place.seen(13, now);
        assert_eq!((place.last, place.gaps.len()), (15, 1));
        place.seen(15 + 2 * i64::try_from(GAPS).unwrap(), now);
        assert_eq!(place.gaps.len(), GAPS, "and no more of them than there is room for");
    }

    #[test]
    fn what_was_passed_over_is_missed_by_whoever_looked_on_and_by_nobody_later() {
        let hub = Hub::new();
        let mut reader = hub.to.subscribe();
        for (passed_over, lines) in [(0, 1), (7, 0), (0, 2), (3, 1)] {
            hub.tell(Read { passed_over, lines: vec![Line::new(); lines] });
        }
        let mut seen = 0;
        let missed = [(); 4].map(|()| reader.try_recv().unwrap().missed(&mut seen));
        assert_eq!((missed, seen), ([0, 7, 0, 3], 14));
        let (mut later, mut seen) = (hub.to.subscribe(), hub.count.load(Ordering::Relaxed));
        hub.tell(Read { passed_over: 0, lines: vec![Line::new()] });
        assert_eq!((later.try_recv().unwrap().missed(&mut seen), seen), (0, 15));
    }

    #[test]
    fn a_reader_sees_what_it_asks_for_and_may_see() {
        let event: Value = serde_json::json!({
            "status": "failed", "channel": "sms", "site": "north", "source": "ehr", "template": "t",
        });
        let Value::Object(line) = event else { unreachable!() };
        let uri = |text: &str| format!("/v1/stream?{text}").parse().unwrap();
        for (asked, lets) in [
            ("", true),
            ("status=failed&channel=sms&template=t", true),
            ("status=sent", false),
            ("reason=opted_out", false),
            ("site=south", false),
        ] {
            let filter = query(&uri(asked), messages::kind).unwrap();
            assert_eq!(Sieve { filter, caller: Caller::Local }.lets(&line), lets, "{asked}");
        }
        for (sites, lets) in [(&["north"][..], true), (&["south"], false)] {
            let person = super::super::auth::Person {
                name: crate::domain::ids::UserName::parse("ana").unwrap(),
                role: crate::domain::people::Role::Viewer,
                sites: sites.iter().map(|s| crate::domain::ids::SiteId::parse(s).unwrap()).collect(),
            };
            let caller = Caller::Person(Box::new(person));
            assert_eq!(Sieve { filter: MessageFilter::default(), caller }.lets(&line), lets);
        }
    }
}
