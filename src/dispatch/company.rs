//! Messages that go together. Once somebody is about to be sent, whoever else waits for the same reader today is taken in
//! hand too and decided upon as always; those that may go now and fit become one. Nothing is held back for it, and nothing
//! goes before the time that its caller asked for, unless its template tells a day together: then it goes along with
//! another one of its day, and alone at its hour.
//!
//! **Two hands that hold one each** see each other: each finds that the other's message was taken a moment ago. The one
//! that was accepted first stays in its hand and looks again in an instant, a few times at most; the others are given
//! back for a second, in which it finds them and takes them along. Whoever is on the way to the wire already is not called
//! back: what comes a moment later waits for that second once or twice, and goes by itself.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::lane::Lane;
use super::plan::PASSED_OVER;
use super::{Corridor, Handover, InHand, Planned, render};
use crate::domain::ids::{AnswerName, MessageId, PatientId, SiteId};
use crate::domain::job::When;
use crate::domain::words::Channel;
use crate::policy::digest::{Naming, Reads, Seat, Traveller, may_travel, together};
use crate::store::rows::{ASIDE, Count, Counted, FRESH, MessageFacts, Release, Rider, Seats};
use crate::template::{Catalogue, RenderError, Rendered, Within};

/// Whoever was accepted first looks again after so long ...
const AN_INSTANT: Duration = Duration::from_millis(100);
/// ... and so often: as long as what another hand has taken counts as taken a moment ago.
const LOOKS: u128 = FRESH.as_millis().unsigned_abs() / AN_INSTANT.as_millis();

/// A message that may be sent, before it is known who goes along.
#[derive(Debug)]
pub(super) struct Waiting {
    planned: Planned,
    lane: Arc<Lane>,
    /// Its hour is still to come.
    only_along: bool,
}

/// Whether a message may go with others, or others with it.
pub(super) fn travels(corridor: &Corridor, planned: &Planned, lane: &Lane) -> bool {
    let catalogue = corridor.catalogue.current();
    let Some(template) = catalogue.get(&planned.hand.facts.template) else { return false };
    let travels = may_travel(&Traveller {
        digest: template.tells_together() && corridor.config.policy.digest.most > 1,
        confidential: template.manifest.confidential,
        priority: planned.hand.facts.priority,
        purpose: planned.hand.facts.purpose,
        patient: &planned.patient,
        followed_up: planned.patience.is_some(),
        is_copy: planned.hand.body.copy.is_some(),
        pointer: planned.pointer,
        dedupes: lane.provider.dedupes(),
        status: planned.hand.work.status,
    });
    // What is to show whether a provider is back shows it for one message.
    travels.is_ok() && planned.probe.is_none()
}

impl Waiting {
    pub(super) fn of(planned: Planned, lane: &Arc<Lane>, only_along: bool) -> Self {
        Self { planned, lane: lane.clone(), only_along }
    }

    fn seat(&self) -> Seat<'_> {
        let (facts, reader) = (&self.planned.hand.facts, &self.planned.reader);
        Seat {
            template: &facts.template,
            purpose: facts.purpose,
            route: &self.planned.route,
            site: site(&self.planned),
            campaign: facts.campaign_id.as_ref(),
            language: reader.language.as_deref(),
            patient: &self.planned.patient.id,
            reads: reader.key.as_ref().map_or(Reads::Patient, Reads::Proxy),
            test: facts.test,
        }
    }

    /// What is of use for the shortest time is told first, and the others with it; last what carries nobody.
    fn order(&self) -> (bool, Option<Timestamp>, MessageId) {
        let hand = &self.planned.hand;
        let expires = match hand.body.expires_at {
            When::At(at) => Some(at),
            When::Local(_) => None,
        };
        (self.only_along, expires, hand.facts.id)
    }
}

/// The place that writes.
fn site(planned: &Planned) -> Option<&SiteId> {
    planned.hand.facts.site.as_ref().or(planned.patient.site.as_ref())
}

/// Whoever was found for those that wait, each by their places among them.
#[derive(Default)]
pub(super) struct Found {
    joined: Vec<(usize, InHand)>,
    elsewhere: Vec<(usize, MessageId)>,
}

/// Takes in hand whoever might go along with those that wait.
pub(super) async fn find(corridor: &Corridor, waiting: &[Waiting]) -> Found {
    if waiting.is_empty() {
        return Found::default();
    }
    let catalogue = corridor.catalogue.current();
    let day = |facts: &MessageFacts| {
        catalogue.get(&facts.template).is_some_and(|t| t.manifest.digest_within == Within::Day)
    };
    let seats: Vec<Seats> = waiting
        .iter()
        .map(|one| Seats {
            patient: one.planned.patient.id.clone(),
            template: one.planned.hand.facts.template.clone(),
            address: one.planned.route.address.clone(),
            day: day(&one.planned.hand.facts),
        })
        .collect();
    let most = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let each = most(corridor.config.policy.digest.most).saturating_sub(1);
    let want = waiting.len().saturating_mul(each).min(corridor.config.worker.batch());
    let places = corridor.room.reserve(0, want);
    let room = u32::try_from(places.count()).unwrap_or(u32::MAX);
    let asked = Instant::now();
    let company = match corridor.store.company(corridor.worker, &seats, room).await {
        Ok(company) => company,
        Err(error) => {
            tracing::warn!(%error, messages = waiting.len(), "nobody could be asked along");
            return Found::default();
        }
    };
    let seats: HashMap<MessageId, usize> =
        company.joined.iter().map(|(place, message)| (message.facts.id, *place)).collect();
    let joined =
        company.joined.into_iter().map(|(_, message)| Handover::claimed(message, asked, None)).collect();
    let (hands, back) = corridor.seated(joined, places);
    corridor.release(back).await;
    let placed = |hand: InHand| {
        (seats.get(&hand.facts.id).copied().unwrap_or_default(), InHand { along: true, ..hand })
    };
    Found { joined: hands.into_iter().map(placed).collect(), elsewhere: company.elsewhere }
}

/// What comes of it where company is in another hand.
#[derive(Default)]
pub(super) struct Aside {
    /// They look again, at this instant.
    pub(super) later: Vec<(Instant, InHand)>,
    /// They are given back for a moment.
    pub(super) back: Vec<Release>,
}

/// Those whose company another hand has taken a moment ago step aside, and with them whoever was found for them: so the
/// two find each other. `ours` are in this hand. Answers the others' company.
pub(super) fn step_aside(
    corridor: &Corridor,
    ours: &HashSet<MessageId>,
    waiting: &mut Vec<Waiting>,
    found: Found,
    aside: &mut Aside,
) -> Vec<InHand> {
    let now = corridor.clock.timestamp(Instant::now());
    let own = |id: &MessageId| ours.contains(id) || found.joined.iter().any(|(_, hand)| hand.facts.id == *id);
    let mut first: HashMap<usize, MessageId> = HashMap::new();
    for (place, id) in found.elsewhere.iter().filter(|(_, id)| !own(id)) {
        let known = first.entry(*place).or_insert(*id);
        *known = (*known).min(*id);
    }
    if first.is_empty() {
        return found.joined.into_iter().map(|(_, hand)| hand).collect();
    }
    let later = |pause: SignedDuration| now.checked_add(pause).ok();
    let mut left = HashSet::new();
    for (place, one) in std::mem::take(waiting).into_iter().enumerate() {
        let has_time = later(ASIDE * 2).is_some_and(|later| later < one.planned.valid_until);
        let other = first.get(&place).filter(|_| has_time);
        let hand = &one.planned.hand;
        match other.map(|other| hand.facts.id < *other) {
            Some(true) if u128::from(hand.looks) < LOOKS => {
                left.insert(place);
                let hand = InHand { looks: hand.looks + 1, ..one.planned.hand };
                aside.later.push((Instant::now() + AN_INSTANT, hand));
            }
            Some(false) => {
                left.insert(place);
                aside.back.push(Release { due_at: later(ASIDE), ..one.planned.release() });
            }
            _ => waiting.push(one),
        }
    }
    let (gone, stays): (Vec<_>, Vec<_>) =
        found.joined.into_iter().partition(|(place, _)| left.contains(place));
    aside.back.extend(gone.iter().map(|(_, hand)| Release { due_at: later(ASIDE), ..hand.release(None) }));
    stays.into_iter().map(|(_, hand)| hand).collect()
}

/// Puts together what goes together, and each of the rest into its lane. Answers the leases of those that find no room.
pub(super) fn seat(corridor: &Corridor, mut waiting: Vec<Waiting>) -> Vec<Release> {
    let most = usize::try_from(corridor.config.policy.digest.most).unwrap_or(usize::MAX);
    waiting.sort_by_key(Waiting::order);
    let mut carriers: Vec<Waiting> = Vec::with_capacity(waiting.len());
    let mut by_way: HashMap<(Channel, String), Vec<usize>> = HashMap::new();
    let mut back = Vec::new();
    for one in waiting {
        let way = (one.planned.route.channel, one.planned.route.address.expose().to_owned());
        let known = by_way.entry(way).or_default();
        let fits = |carrier: &Waiting| {
            let free = carrier.planned.riders.len().saturating_add(1) < most;
            let same = free && Arc::ptr_eq(&carrier.lane, &one.lane);
            same.then(|| together(&carrier.seat(), &one.seat()).ok()).flatten()
        };
        let found = known.iter().find_map(|at| Some((*at, fits(carriers.get(*at)?)?)));
        match found.and_then(|(at, naming)| Some((carriers.get_mut(at)?, naming))) {
            Some((carrier, naming)) => carrier.planned.take_along(one.planned, naming),
            // Nobody takes it along: it is decided upon again for its own hour.
            None if one.only_along => back.push(Release { due_at: None, ..one.planned.release() }),
            None => {
                known.push(carriers.len());
                carriers.push(one);
            }
        }
    }
    // Others behind what finds no room may find some: it is not the first to be claimed again.
    let now = corridor.clock.timestamp(Instant::now());
    for Waiting { planned, lane, .. } in carriers {
        if let Err(planned) = lane.queue.offer(planned.hand.facts.priority, planned) {
            back.extend(planned.releases_for(PASSED_OVER, now));
        }
    }
    back
}

impl Planned {
    /// The caps count the one text for each person of whom it tells.
    fn take_along(&mut self, rider: Self, naming: Naming) {
        let person = rider.count.as_ref().and_then(|count| count.person.clone());
        let known = |person: &Counted| {
            self.count.iter().flat_map(Count::rows).any(|counted| counted.subject == person.subject)
        };
        let person =
            person.filter(|person| Some(person.subject.as_str()) != self.reads_as() && !known(person));
        if let Some(person) = person {
            self.count.get_or_insert_default().others.push(person);
        }
        self.unnamed |= naming == Naming::Nobody;
        self.valid_until = self.valid_until.min(rider.valid_until);
        self.hand.deadline = self.hand.deadline.min(rider.hand.deadline);
        self.riders.push(rider);
    }

    /// The row on which its reader is counted, whether it is counted now or was before.
    fn reads_as(&self) -> Option<&str> {
        self.reader.id.as_ref().map(PatientId::as_str)
    }

    /// Goes alone. Answers the leases of those that it carried.
    pub(super) fn part(&mut self) -> Vec<Release> {
        self.unnamed = false;
        if let Some(count) = &mut self.count {
            count.others.clear();
        }
        self.riders.drain(..).map(|rider| rider.release()).collect()
    }

    /// Gives back the leases of the message and of all that it carries.
    pub(super) fn releases(&self) -> Vec<Release> {
        std::iter::once(self.release()).chain(self.riders.iter().map(Self::release)).collect()
    }

    /// The same, due again so much after `now`.
    pub(super) fn releases_for(&self, pause: SignedDuration, now: Timestamp) -> Vec<Release> {
        let due_at = now.checked_add(pause).ok();
        self.releases().into_iter().map(|one| Release { due_at, ..one }).collect()
    }

    /// What is written down of a message that another one carries.
    pub(super) fn riding(&self) -> Rider {
        Rider {
            message: self.hand.facts.id,
            site: self.hand.facts.site.clone(),
            token: self.hand.work.token,
            step: self.hand.work.step,
            state: self.state.clone(),
            valid_until: self.valid_until,
            explanation: self.explanation.clone(),
        }
    }
}

/// Renders the message with all that it carries; where they do not fit into one text it goes alone, and they as they
/// would have gone without it.
pub(super) async fn rendered(
    corridor: &Corridor,
    catalogue: &Catalogue,
    planned: &mut Planned,
    digits: &[(AnswerName, u8)],
) -> Result<Rendered, RenderError> {
    let error = match render::render(corridor, catalogue, planned, digits) {
        Err(error) if !planned.riders.is_empty() => error,
        other => return other,
    };
    tracing::info!(message = %planned.hand.facts.id, template = %planned.hand.facts.template, reason = %error.reason,
        others = planned.riders.len(), "too much for one text");
    let back = planned.part();
    corridor.release(back).await;
    render::render(corridor, catalogue, planned, digits)
}
