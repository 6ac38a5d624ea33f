//! Proxies who are written to beside the patient: their copies stand in the ledger before anything of the message can be
//! sent.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::plan::{covering, judge};
use super::{Corridor, InHand};
use crate::domain::ids::MessageId;
use crate::domain::patient::Patient;
use crate::domain::status::MessageStatus;
use crate::domain::words::ProxyMode;
use crate::store::rows::{CopyFor, Directory, DirectoryEntry, JobBody, NewCopy};

/// Writes the copies of all messages of the batch that want some; answers the messages that must wait because theirs
/// could not be written.
pub(super) async fn write(
    corridor: &Corridor,
    batch: &[InHand],
    directory: &Directory,
) -> HashSet<MessageId> {
    let pairs = batch.iter().zip(&directory.entries);
    // Where this fails by a fault of ours, the decision that follows does too, and puts its message back.
    let wanted = |(hand, entry)| {
        catch_unwind(AssertUnwindSafe(|| wanted(corridor, hand, entry, directory))).unwrap_or_default()
    };
    let copies: Vec<NewCopy> = pairs.flat_map(wanted).collect();
    if copies.is_empty() {
        return HashSet::new();
    }
    match corridor.store.copy(&copies).await {
        Ok(()) => {
            corridor.due.notify_one();
            HashSet::new()
        }
        Err(error) => {
            tracing::warn!(%error, copies = copies.len(), "copies could not be written; their messages wait");
            copies.into_iter().map(|copy| copy.of).collect()
        }
    }
}

fn wanted(corridor: &Corridor, hand: &InHand, entry: &DirectoryEntry, directory: &Directory) -> Vec<NewCopy> {
    if !may_have_copies(hand) {
        return Vec::new();
    }
    let patient = entry.seen(hand.body.patient.as_deref());
    let Some(patient) = patient.as_deref().filter(|patient| has_some(patient)) else { return Vec::new() };
    let judged = judge(corridor, hand, Some(patient), entry, directory, covering(hand, directory));
    let copy = |proxy| NewCopy {
        id: MessageId::generate(),
        of: hand.facts.id,
        token: hand.work.token,
        body: JobBody { copy: Some(CopyFor { message: hand.facts.id, proxy }), ..(*hand.body).clone() },
    };
    judged.copies.into_iter().map(copy).collect()
}

/// Only while nothing of it was sent. A copy has none, and a second try of a message leaves it to the first one's.
fn may_have_copies(hand: &InHand) -> bool {
    hand.body.copy.is_none()
        && hand.facts.retry_of.is_none()
        && hand.work.tries == 0
        && hand.work.step == 0
        && matches!(
            hand.work.status,
            MessageStatus::Accepted | MessageStatus::Scheduled | MessageStatus::Held
        )
}

fn has_some(patient: &Patient) -> bool {
    patient.proxies.iter().any(|proxy| proxy.mode == ProxyMode::Also)
}
