//! Messages that go together. Once somebody is about to be sent, whoever else waits for the same reader is taken in hand
//! too and decided upon as always; those that may go now and fit become one. Nothing is held back for it: what comes a
//! moment later, or is in another worker's hand, goes by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::lane::Lane;
use super::{Corridor, Handover, InHand, Planned, render};
use crate::domain::ids::{AnswerName, SiteId};
use crate::domain::job::When;
use crate::domain::words::Channel;
use crate::policy::digest::{Naming, Reads, Seat, Traveller, may_travel, together};
use crate::store::rows::{Release, Rider, Seats};
use crate::template::{RenderError, Rendered};

/// A message that may be sent, before it is known who goes along.
#[derive(Debug)]
pub(super) struct Waiting {
    planned: Planned,
    lane: Arc<Lane>,
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
        dedupes: lane.provider.dedupes(),
    });
    // What is to show whether a provider is back shows it for one message.
    travels.is_ok() && planned.probe.is_none()
}

impl Waiting {
    pub(super) fn of(planned: Planned, lane: &Arc<Lane>) -> Self {
        Self { planned, lane: lane.clone() }
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

    /// What is of use for the shortest time is told first, and the others with it.
    fn order(&self) -> (Option<jiff::Timestamp>, uuid::Uuid) {
        let hand = &self.planned.hand;
        let expires = match hand.body.expires_at {
            When::At(at) => Some(at),
            When::Local(_) => None,
        };
        (expires, hand.facts.id.0)
    }
}

/// The place that writes.
fn site(planned: &Planned) -> Option<&SiteId> {
    planned.hand.facts.site.as_ref().or(planned.patient.site.as_ref())
}

/// Takes in hand whoever might go along with those that wait.
pub(super) async fn find(corridor: &Corridor, waiting: &[Waiting]) -> Vec<InHand> {
    if waiting.is_empty() {
        return Vec::new();
    }
    let seats: Vec<Seats> = waiting
        .iter()
        .map(|one| Seats {
            patient: one.planned.patient.id.clone(),
            template: one.planned.hand.facts.template.clone(),
            address: one.planned.route.address.clone(),
        })
        .collect();
    let most = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let each = most(corridor.config.policy.digest.most).saturating_sub(1);
    let want = waiting.len().saturating_mul(each).min(most(corridor.config.worker.batch));
    let places = corridor.room.reserve(0, want);
    let room = u32::try_from(places.count()).unwrap_or(u32::MAX);
    let asked = Instant::now();
    let found = match corridor.store.company(corridor.worker, &seats, room).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, messages = waiting.len(), "nobody could be asked along");
            return Vec::new();
        }
    };
    let found = found.into_iter().map(|message| Handover::claimed(message, asked, None)).collect();
    let (hands, back) = corridor.seated(found, places);
    corridor.release(back).await;
    hands
}

/// Puts together what goes together, and each of the rest into its lane. Answers the leases of those that find no room.
pub(super) fn seat(corridor: &Corridor, mut waiting: Vec<Waiting>) -> Vec<Release> {
    let most = usize::try_from(corridor.config.policy.digest.most).unwrap_or(usize::MAX);
    waiting.sort_by_key(Waiting::order);
    let mut carriers: Vec<Waiting> = Vec::with_capacity(waiting.len());
    let mut by_way: HashMap<(Channel, String), Vec<usize>> = HashMap::new();
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
            None => {
                known.push(carriers.len());
                carriers.push(one);
            }
        }
    }
    let mut back = Vec::new();
    for Waiting { planned, lane } in carriers {
        if let Err(planned) = lane.queue.offer(planned.hand.facts.priority, planned) {
            back.extend(planned.releases());
        }
    }
    back
}

impl Planned {
    fn take_along(&mut self, rider: Self, naming: Naming) {
        self.unnamed |= naming == Naming::Nobody;
        self.valid_until = self.valid_until.min(rider.valid_until);
        self.hand.deadline = self.hand.deadline.min(rider.hand.deadline);
        self.riders.push(rider);
    }

    /// Gives back the leases of the message and of all that it carries.
    pub(super) fn releases(&self) -> Vec<Release> {
        std::iter::once(self.release()).chain(self.riders.iter().map(Self::release)).collect()
    }

    /// What is written down of a message that another one carries.
    pub(super) fn riding(&self) -> Rider {
        Rider {
            message: self.hand.facts.id,
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
    planned: &mut Planned,
    digits: &[(AnswerName, u8)],
) -> Result<Rendered, RenderError> {
    let error = match render::render(corridor, planned, digits) {
        Err(error) if !planned.riders.is_empty() => error,
        other => return other,
    };
    tracing::info!(message = %planned.hand.facts.id, template = %planned.hand.facts.template, reason = %error.reason,
        others = planned.riders.len(), "too much for one text");
    let back = planned.riders.drain(..).map(|rider| rider.release()).collect();
    planned.unnamed = false;
    corridor.release(back).await;
    render::render(corridor, planned, digits)
}
