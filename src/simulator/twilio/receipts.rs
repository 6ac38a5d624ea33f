//! Which receipts an SMS gets and when, decided once, when it is taken.

use crate::simulator::config::{NumberRule, Receipts, SmsEnd};
use crate::simulator::desk::Truth;
use crate::simulator::dice::{Dice, Stream};

/// One receipt to bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub(super) after_ms: u64,
    pub(super) status: &'static str,
    pub(super) error_code: Option<u32>,
}

/// What becomes of the message, and what is said about it.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) truth: Truth,
    pub(super) receipts: Vec<Receipt>,
}

/// Decides for the `n`-th message, taken at `now_us`.
pub(super) fn script(
    receipts: &Receipts,
    rule: Option<&NumberRule>,
    dice: Dice,
    n: u64,
    now_us: u64,
) -> Script {
    let end = rule.and_then(|rule| rule.sms).unwrap_or_else(|| draw_end(receipts, dice, n));
    let code = match end {
        SmsEnd::Delivered | SmsEnd::Silent => None,
        SmsEnd::Undelivered => Some(&receipts.undelivered_codes),
        SmsEnd::Failed => Some(&receipts.failed_codes),
    }
    .map(|codes| {
        let drawn = || dice.pick(Stream::Code, n, codes).unwrap_or(30008);
        rule.and_then(|rule| rule.error_code).unwrap_or_else(drawn)
    });
    let jitter = |salt: u64| match receipts.jitter_ms {
        0 => 0,
        max => dice.up_to(Stream::Pace, n.wrapping_mul(4).wrapping_add(salt), max),
    };
    let sent_ms = receipts.sent_ms.saturating_add(jitter(0));
    // Truth runs in order even where jitter would have it otherwise.
    let final_ms = receipts.final_ms.saturating_add(jitter(1)).max(sent_ms);
    let at = |ms: u64| now_us.saturating_add(ms.saturating_mul(1_000));
    let mut truth = Truth { first: "queued", steps: vec![(at(sent_ms), "sent")], error_code: code };
    if end != SmsEnd::Silent {
        truth.steps.push((at(final_ms), word(end)));
    }
    let told = tell(receipts, end, code, dice, n, (sent_ms, final_ms));
    Script { truth, receipts: if receipts.enabled { told } else { Vec::new() } }
}

/// What the receipts say, faults included.
fn tell(
    receipts: &Receipts,
    end: SmsEnd,
    code: Option<u32>,
    dice: Dice,
    n: u64,
    (sent_ms, mut final_ms): (u64, u64),
) -> Vec<Receipt> {
    let chance = |stream, share| dice.chance(stream, n, share);
    let mut told = Vec::with_capacity(4);
    let plain = |after_ms, status| Receipt { after_ms, status, error_code: None };
    told.extend(receipts.queued_ms.map(|after_ms| plain(after_ms, "queued")));
    let (mut sent_at, mut last_at) = (sent_ms, final_ms);
    if chance(Stream::Shuffle, receipts.shuffled) {
        (sent_at, last_at) = (final_ms.max(sent_ms + 1), sent_ms);
    }
    if chance(Stream::Late, receipts.late) {
        last_at = last_at.saturating_add(receipts.late_ms);
    }
    final_ms = last_at;
    told.push(plain(sent_at, "sent"));
    if end != SmsEnd::Silent {
        let lies = chance(Stream::Lie, receipts.lying);
        let (said, code) = match (lies, end) {
            (false, end) => (end, code),
            (true, SmsEnd::Delivered) => {
                (SmsEnd::Undelivered, dice.pick(Stream::Code, n, &receipts.undelivered_codes).or(Some(30003)))
            }
            (true, _) => (SmsEnd::Delivered, None),
        };
        told.push(Receipt { after_ms: final_ms, status: word(said), error_code: code });
    }
    if chance(Stream::Repeat, receipts.repeated) {
        let again: Vec<Receipt> = told.iter().map(|r| Receipt { after_ms: r.after_ms + 5, ..*r }).collect();
        told.extend(again);
    }
    told
}

fn draw_end(receipts: &Receipts, dice: Dice, n: u64) -> SmsEnd {
    let mut mark = dice.share(Stream::Outcome, n);
    for (share, end) in [
        (receipts.undelivered, SmsEnd::Undelivered),
        (receipts.failed, SmsEnd::Failed),
        (receipts.silent, SmsEnd::Silent),
    ] {
        if mark < share {
            return end;
        }
        mark -= share;
    }
    SmsEnd::Delivered
}

const fn word(end: SmsEnd) -> &'static str {
    match end {
        SmsEnd::Delivered => "delivered",
        SmsEnd::Undelivered => "undelivered",
        SmsEnd::Failed => "failed",
        SmsEnd::Silent => "sent",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(receipts: &Receipts) -> Vec<(u64, &'static str, Option<u32>)> {
        let script = script(receipts, None, Dice::new(3), 0, 0);
        script.receipts.iter().map(|r| (r.after_ms, r.status, r.error_code)).collect()
    }

    fn with(change: impl FnOnce(&mut Receipts)) -> Receipts {
        let mut receipts = Receipts { undelivered_codes: vec![30005], ..Receipts::default() };
        change(&mut receipts);
        receipts
    }

    #[test]
    fn each_fault_changes_what_is_told() {
        let plain = [(20, "sent", None), (80, "delivered", None)];
        assert_eq!(told(&with(|_| {})), plain);
        assert_eq!(told(&with(|r| r.enabled = false)), []);
        assert_eq!(told(&with(|r| r.silent = 1.0)), [(20, "sent", None)]);
        assert_eq!(
            told(&with(|r| r.undelivered = 1.0)),
            [(20, "sent", None), (80, "undelivered", Some(30005))]
        );
        assert_eq!(told(&with(|r| r.shuffled = 1.0)), [(80, "sent", None), (20, "delivered", None)]);
        assert_eq!(told(&with(|r| r.late = 1.0)), [(20, "sent", None), (60_080, "delivered", None)]);
        assert_eq!(told(&with(|r| r.repeated = 1.0)).len(), 4);
        assert_eq!(told(&with(|r| r.lying = 1.0)), [(20, "sent", None), (80, "undelivered", Some(30005))]);
    }

    #[test]
    fn a_lie_does_not_change_the_truth() {
        let receipts = with(|r| {
            r.lying = 1.0;
            r.undelivered = 1.0;
        });
        let script = script(&receipts, None, Dice::new(3), 0, 1_000);
        assert_eq!(script.receipts.last().unwrap().status, "delivered");
        assert_eq!(script.truth.steps, [(21_000, "sent"), (81_000, "undelivered")]);
        assert_eq!(script.truth.error_code, Some(30005));
    }

    #[test]
    fn a_rule_for_the_number_wins() {
        let rule = NumberRule { sms: Some(SmsEnd::Failed), error_code: Some(30007), ..NumberRule::default() };
        let script = script(&Receipts::default(), Some(&rule), Dice::new(3), 0, 0);
        assert_eq!(script.receipts.last().map(|r| (r.status, r.error_code)), Some(("failed", Some(30007))));
    }
}
