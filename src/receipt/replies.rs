//! A patient has written back: what it means, what follows, and the one answer that they get.

use std::time::Duration;

use tokio::time::timeout;

use super::texts::in_language;
use super::{Refusal, Shared};
use crate::config::policy::ConsentDefault;
use crate::config::provider::OptOutReply;
use crate::domain::ids::SiteId;
use crate::domain::reply::{Intent, Reply};
use crate::domain::words::{Channel, Purpose};
use crate::policy::reply::{Meaning, More, read, read_mail};
use crate::provider::webhook::Answer;
use crate::store::StoreError;
use crate::store::rows::{ReplyAsk, ReplyOutcome};

/// How long the ledger may take. Providers wait 15 s (Twilio) and come again.
const PATIENCE: Duration = Duration::from_secs(5);
/// Transactions that met are tried again so often.
const TRIES: u32 = 5;

/// Takes a reply; answers what is to be sent back, once: a webhook that comes again is answered with nothing.
pub(super) async fn take(shared: &Shared, reply: Reply) -> Result<Option<Answer>, Refusal> {
    let config = &shared.config;
    let ours = config.provider(&reply.provider).is_some_and(|p| p.opt_out_reply == OptOutReply::Ours);
    let channel = reply.channel;
    let by_mail = channel == Channel::Email;
    let read = if by_mail { read_mail } else { read };
    let meaning = read(reply.text.expose(), reply.keyword, &shared.more);
    let needs = |purpose: &Purpose| config.policy.purpose(*purpose).consent_default == ConsentDefault::None;
    let opt_in = Purpose::ALL.iter().copied().filter(needs).collect();
    let outcome = written(shared, &ReplyAsk { reply, meaning, opt_in }).await?;
    let what = if outcome == ReplyOutcome::Known { "known" } else { "new" };
    metrics::counter!("outreachd_replies_total", "intent" => meaning.intent.as_str(), "what" => what)
        .increment(1);
    let (meaning, locale, site) = match outcome {
        ReplyOutcome::New { meaning, locale, site } => (meaning, locale, site),
        // Somebody is on the line, however often we are asked what to say.
        ReplyOutcome::Known if meaning.intent == Intent::Call => (meaning, None, None),
        ReplyOutcome::Known => return Ok(None),
    };
    // Whoever was planned for is planned anew, and people are called.
    shared.nudge();
    if by_mail {
        // A mail is answered by people.
        return Ok(None);
    }
    Ok(answer(shared, (channel, meaning), ours, locale.as_deref(), site.as_ref()))
}

async fn written(shared: &Shared, ask: &ReplyAsk) -> Result<ReplyOutcome, Refusal> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match timeout(PATIENCE, shared.store.reply(ask)).await {
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(StoreError::Contention)) if tries < TRIES => {
                tokio::time::sleep(Duration::from_millis(5).mul_f64(1.0 + rand::random::<f64>())).await;
                continue;
            }
            Ok(Err(error)) => error,
            Err(_) => StoreError::Unavailable("no answer in time".to_owned()),
        };
        tracing::warn!(%error, provider = %ask.reply.provider, "a reply waits for the ledger: its provider comes again");
        return Err(Refusal::Later);
    }
}

/// What is sent back. A stop, a start and a call for help are confirmed by one of us only: where the provider does it
/// (`opt_out_reply`), a word of ours would be the second.
fn answer(
    shared: &Shared,
    (channel, meaning): (Channel, Meaning),
    ours: bool,
    locale: Option<&str>,
    site: Option<&SiteId>,
) -> Option<Answer> {
    let organisation = &shared.config.organisation;
    // STOP and START are everybody's words: they tell nothing of who wrote them.
    let spoken = meaning
        .language
        .filter(|tag| *tag != "en" || matches!(meaning.intent, Intent::Safety | Intent::Language));
    let language = spoken.or(locale).unwrap_or(&organisation.language);
    let texts = in_language(language);
    let text = match meaning.intent {
        Intent::Safety => texts.safety,
        Intent::Language => texts.language,
        Intent::Call => texts.called,
        Intent::Channel => texts.first(meaning.channel?),
        _ if meaning.revokes && channel == Channel::Voice => texts.no_calls,
        Intent::Cancel if meaning.revokes && ours => texts.stopped_visit,
        _ if meaning.revokes && ours => texts.stopped,
        Intent::Start if ours => texts.started,
        Intent::Help if ours => texts.help,
        _ => return None,
    };
    let site = site.and_then(|id| shared.config.site(id));
    let name = site.map_or(organisation.name.as_str(), |site| site.name.get(language));
    let phone = site.and_then(|site| site.phone.as_deref());
    let call = phone.map(|phone| texts.call.replace("{phone}", phone)).unwrap_or_default();
    let emergency = &shared.config.replies.emergency_number;
    let text = text.replace("{call}", &call).replace("{emergency}", emergency).replace("{name}", name);
    Some(Answer { text, language: texts.tag, listens: meaning.intent == Intent::Call })
}

/// The words that the configuration adds.
pub(super) fn more(config: &crate::config::Config) -> More {
    let r = &config.replies;
    More::of([&r.stop, &r.start, &r.help, &r.wrong_number, &r.safety])
}
