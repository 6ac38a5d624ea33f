//! The ways to reach somebody, in the order in which they would want to be reached.

use super::person::Addressee;
use crate::domain::patient::Contact;
use crate::domain::words::{Channel, Purpose};

/// The contacts of `addressee` on the `allowed` channels, first choice first.
///
/// Channels come in the order of their preference for the purpose, then their general preference, then the rank of
/// their contacts, then `default_order`; within a channel the contact's rank decides. A preference is an order, not
/// a ban.
#[must_use]
pub fn ordered<'a>(
    addressee: &Addressee<'a>,
    purpose: Purpose,
    allowed: &[Channel],
    default_order: &[Channel],
) -> Vec<&'a Contact> {
    let for_purpose = addressee
        .preferences
        .iter()
        .find(|p| p.purpose == purpose)
        .map_or(&[][..], |p| p.channels.as_slice());
    let place =
        |list: &[Channel], channel: Channel| list.iter().position(|&c| c == channel).unwrap_or(list.len());
    let best_rank = |channel: Channel| {
        addressee.contacts.iter().filter(|c| c.channel == channel).map(rank).min().unwrap_or(u32::MAX)
    };
    let mut contacts: Vec<&'a Contact> = addressee
        .contacts
        .iter()
        .filter(|c| allowed.contains(&c.channel) && c.usage.as_deref() != Some("old"))
        .collect();
    contacts.sort_by_key(|contact| {
        let channel = contact.channel;
        (
            place(for_purpose, channel),
            place(addressee.preferred_channels, channel),
            best_rank(channel),
            place(default_order, channel),
            channel,
            rank(contact),
        )
    });
    contacts
}

fn rank(contact: &Contact) -> u32 {
    contact.rank.unwrap_or(u32::MAX)
}
