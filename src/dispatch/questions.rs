//! What a message asks, and the digits of its answers: they are given out when it is sent, so that no two texts that
//! wait for an answer at one number share one. Those of a call or a mail are the template's own.

use std::time::Duration;

use super::{Corridor, Planned};
use crate::domain::ids::AnswerName;
use crate::domain::words::Channel;
use crate::store::rows::QuestionAsk;
use crate::store::{Result, again_if_contended};
use crate::template::Catalogue;

/// Others that ask at the same number at the same moment are let go first so often.
const TRIES: u32 = 5;

/// The digits of the answers that the planned message offers, none where it offers none; `None`: so much waits at that
/// number that there are none left.
pub(super) async fn digits(
    corridor: &Corridor,
    catalogue: &Catalogue,
    planned: &Planned,
) -> Result<Option<Vec<(AnswerName, u8)>>> {
    let facts = &planned.hand.facts;
    let route = &planned.route;
    let offers = catalogue.get(&facts.template).map_or(&[][..], |template| template.offers(route.channel));
    // Nobody answers a test, and a pointer asks nothing.
    if offers.is_empty() || facts.test || planned.pointer {
        return Ok(Some(Vec::new()));
    }
    let number = (route.channel == Channel::Sms).then(|| route.address.clone());
    let ask = QuestionAsk { message: facts.id, address: number, offers: offers.to_vec() };
    let pauses = (1..TRIES).map(|_| Duration::from_millis(2).mul_f64(1.0 + rand::random::<f64>()));
    again_if_contended(pauses, || corridor.store.allot(&ask)).await
}
