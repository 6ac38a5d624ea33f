//! A patient has written back: what it means, what follows, and the one answer that they get.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::closed::{hours, is_closed_notice_due};
use super::texts::{Texts, in_language};
use super::{Back, Refusal, Shared, batch};
use crate::config::Config;
use crate::config::policy::ConsentDefault;
use crate::config::provider::OptOutReply;
use crate::config::site::SiteSection;
use crate::domain::ids::SiteId;
use crate::domain::reply::{Intent, Reply};
use crate::domain::words::{Channel, Purpose};
use crate::policy::reply::{Meaning, More, read, read_mail};
use crate::provider::webhook::Answer;
use crate::store::rows::{AnswerFacts, Choice, ReplyAsk, ReplyOutcome};
use crate::store::{StoreError, again_if_contended, moments};
use crate::template::show_phone;

/// How long the ledger may take. Providers wait 15 s in all (Twilio).
const PATIENCE: Duration = Duration::from_secs(5);
/// Transactions that met are tried again so often.
const TRIES: u32 = 4;

/// Takes a reply; answers what is to be sent back. A webhook comes again where our answer to it was lost: it is answered as
/// it was the first time, and nothing of it is written twice. One that was kept for a while was `said_at` another time than
/// now, and nobody waits for the answer to it.
///
/// # Errors
/// [`Refusal::Later`] where the ledger is away, [`Refusal::Unreadable`] where it will never take it.
pub(super) async fn take(
    shared: &Shared,
    reply: Reply,
    said_at: Option<Timestamp>,
) -> Result<Option<Back>, Refusal> {
    let config = &shared.config;
    let ours = is_ours_to_confirm(shared, &reply);
    let may = config.safety.allows(&reply.from);
    let channel = reply.channel;
    let by_mail = channel == Channel::Email;
    let meaning = meaning(shared, &reply);
    let about = reply.about;
    let needs = |purpose: &Purpose| config.policy.purpose(*purpose).consent_default == ConsentDefault::None;
    let opt_in = Purpose::ALL.iter().copied().filter(needs).collect();
    let stops_all_from = config.replies.stops_all_from();
    let ask = ReplyAsk { reply, meaning, opt_in, stops_all_from, said_at };
    let outcome = written(shared, &ask).await?;
    let again = matches!(outcome, ReplyOutcome::Known { .. });
    let what = match outcome {
        ReplyOutcome::New { .. } => "new",
        ReplyOutcome::Known { .. } => "known",
        ReplyOutcome::OtherKey => "other_key",
    };
    metrics::counter!("outreachd_replies_total", "intent" => meaning.intent.as_str(), "what" => what)
        .increment(1);
    let told = match outcome {
        // Nobody is told that something will be otherwise which is not: there is no record there, or it was so before.
        ReplyOutcome::New { meaning, changed: false, .. }
            if matches!(meaning.intent, Intent::Language | Intent::Channel) && !meaning.revokes =>
        {
            shared.nudge();
            return Ok(None);
        }
        ReplyOutcome::New { meaning, facts, .. } => Told::as_on_record(channel, meaning, ours, *facts),
        ReplyOutcome::Known { first: Some(facts) } => {
            Told::as_on_record(channel, meaning.answering(facts.intent, false), ours, *facts)
        }
        // Somebody is on the line, however often we are asked what to say.
        ReplyOutcome::Known { first: None } if meaning.intent == Intent::Call => {
            Told::of(channel, meaning, ours)
        }
        ReplyOutcome::Known { first: None } => return Ok(None),
        ReplyOutcome::OtherKey => return Ok(about.filter(|_| may).map(Back::Again)),
    };
    // Whoever was planned for is planned anew, and people are called.
    shared.nudge();
    // The answer to a mail is on record with it, and sent by `by_mail.rs`. Nobody else is written to than may be.
    if by_mail || !may || said_at.is_some() {
        return Ok(None);
    }
    let answer = answer(&shared.config, &told);
    Ok(answer.filter(|_| again || may_go_on(shared, &ask.reply, &told)).map(Back::Answer))
}

/// What can be said though the ledger is away: whoever may be in danger is told whom to call, and whoever has called us
/// who we are. Neither depends on anything that is on record.
pub(super) fn at_once(shared: &Shared, reply: &Reply) -> Option<Answer> {
    let meaning = meaning(shared, reply);
    let says = matches!(meaning.intent, Intent::Safety | Intent::Call)
        && reply.channel != Channel::Email
        && shared.config.safety.allows(&reply.from);
    let told = Told::of(reply.channel, meaning, is_ours_to_confirm(shared, reply));
    if says && may_go_on(shared, reply, &told) { answer(&shared.config, &told) } else { None }
}

/// Whether the number that wrote it is answered still.
fn may_go_on(shared: &Shared, reply: &Reply, told: &Told) -> bool {
    shared.enough.allows(shared.store.sealer().index(&reply.from), told)
}

fn meaning(shared: &Shared, reply: &Reply) -> Meaning {
    let read = if reply.channel == Channel::Email { read_mail } else { read };
    read(reply.text.expose(), reply.keyword, &shared.more)
}

/// Whether a stop, a start and a call for help are for us to confirm: the provider confirms what it says that it has taken
/// for one, and the words that are its own.
fn is_ours_to_confirm(shared: &Shared, reply: &Reply) -> bool {
    let section = shared.config.provider(&reply.provider);
    let is_off = section.is_some_and(|section| section.opt_out_reply == OptOutReply::Ours);
    let provider = shared.providers.get(&reply.provider);
    is_off || (reply.keyword.is_none() && !provider.is_some_and(|p| p.confirms(reply.text.expose())))
}

/// What the answer depends on.
pub(super) struct Told {
    pub(super) channel: Channel,
    pub(super) intent: Intent,
    /// Nothing more goes there.
    pub(super) revokes: bool,
    /// No calls go there.
    pub(super) no_calls: bool,
    /// What revokes is one word for texts and calls.
    pub(super) stops_all: bool,
    /// The channel that is asked for.
    pub(super) asked: Option<Channel>,
    /// Of what was written, or asked for.
    pub(super) language: Option<String>,
    /// Stops, starts and calls for help are confirmed by us.
    pub(super) ours: bool,
    pub(super) locale: Option<String>,
    pub(super) site: Option<SiteId>,
    pub(super) choices: Vec<Choice>,
    /// When something that people read came from there before, and when this came.
    pub(super) hours: Option<(Option<Timestamp>, Timestamp)>,
}

impl Told {
    fn as_on_record(channel: Channel, meaning: Meaning, ours: bool, facts: AnswerFacts) -> Self {
        Self {
            locale: facts.locale,
            site: facts.site,
            choices: facts.choices,
            hours: Some((facts.wrote_before, facts.now)),
            stops_all: facts.stops_all,
            ..Self::of(channel, meaning, ours)
        }
    }

    pub(super) fn of(channel: Channel, meaning: Meaning, ours: bool) -> Self {
        Self {
            channel,
            intent: meaning.intent,
            revokes: meaning.revokes,
            no_calls: meaning.no_calls,
            stops_all: false,
            asked: meaning.channel,
            language: meaning.language.map(str::to_owned),
            ours,
            locale: None,
            site: None,
            choices: Vec::new(),
            hours: None,
        }
    }
}

async fn written(shared: &Shared, ask: &ReplyAsk) -> Result<ReplyOutcome, Refusal> {
    let within = || async {
        let late = |_| Err(StoreError::Unavailable("no answer in time".to_owned()));
        timeout(PATIENCE, shared.store.reply(ask)).await.unwrap_or_else(late)
    };
    let error = match again_if_contended(moments(TRIES), within).await {
        Ok(outcome) => return Ok(outcome),
        Err(error) => error,
    };
    let provider = &ask.reply.provider;
    if batch::is_about_a_row(&error) {
        tracing::error!(%error, %provider, "the ledger refuses a reply");
        return Err(Refusal::Unreadable);
    }
    tracing::warn!(%error, %provider, "a reply waits for the ledger");
    Err(Refusal::Later)
}

/// What is sent back. A stop, a start and a call for help are confirmed by one of us only: where the provider does it
/// (`opt_out_reply`), a word of ours would be the second. What people will read is answered where nobody is there to
/// read it, and not again soon. Whatever is said answers what has just come in: it passes no cap, keeps no quiet hours,
/// and offers nothing (47 CFR 64.1200(a)(12)).
pub(super) fn answer(config: &Config, told: &Told) -> Option<Answer> {
    // STOP and START are everybody's words: they tell nothing of who wrote them.
    let spoken = told
        .language
        .as_deref()
        .filter(|tag| *tag != "en" || matches!(told.intent, Intent::Safety | Intent::Language));
    let language = spoken.or(told.locale.as_deref()).unwrap_or(&config.organisation.language);
    let texts = in_language(language);
    let site = told.site.as_ref().and_then(|id| config.site(id));
    let text = text(told, texts, site)?;
    let organisation = config.organisation.name.as_str();
    let name = |site: Option<&SiteSection>| match site {
        Some(site) => site.name.get(language).to_owned(),
        None => organisation.to_owned(),
    };
    let choice = |choice: &Choice| {
        let place = choice.site.as_ref().and_then(|id| config.site(id));
        let text = texts.choice.replace("{digit}", &choice.digit.to_string());
        text.replace("{subject}", texts.subject(choice.purpose)).replace("{site}", &name(place))
    };
    let choices: Vec<String> = told.choices.iter().map(choice).collect();
    // Aloud a number is read in the groups that people know.
    let shown = |site: &SiteSection| match (&site.phone, told.channel) {
        (Some(phone), Channel::Voice) => Some(show_phone(phone, Some(&site.region))),
        (phone, _) => phone.clone(),
    };
    let phone = site.and_then(shown);
    let call = phone.map(|phone| texts.call.replace("{phone}", &phone)).unwrap_or_default();
    let hours = site.map(|site| hours(&site.hours, texts)).unwrap_or_default();
    // Several sites may have asked.
    let signs = if choices.is_empty() { name(site) } else { organisation.to_owned() };
    let text = text
        .replace("{call}", &call)
        .replace("{emergency}", &config.replies.emergency_number)
        .replace("{hours}", &hours)
        .replace("{choices}", &choices.join("; "))
        .replace("{name}", &signs);
    let listens = told.intent == Intent::Call;
    Some(Answer { text: text.trim_end().to_owned(), language: texts.tag, listens })
}

/// Which of the texts it is, with the places that are filled in.
fn text(told: &Told, texts: &Texts, site: Option<&SiteSection>) -> Option<&'static str> {
    let (mail, is_mail) = (&texts.by_mail, told.channel == Channel::Email);
    let by = |other: &'static str, by_mail: &'static str| if is_mail { by_mail } else { other };
    let closed = || {
        let (before, now) = told.hours?;
        site.filter(|site| is_closed_notice_due(site, before, now)).map(|_| by(texts.closed, mail.closed))
    };
    Some(match told.intent {
        Intent::Safety => by(texts.safety, mail.safety),
        Intent::Language => texts.language,
        Intent::Call => texts.called,
        Intent::Channel => by(texts.first(told.asked?), mail.first(told.asked?)),
        Intent::Answer => texts.answered,
        Intent::Unclear => texts.unclear,
        Intent::Late => texts.late,
        _ if told.revokes && told.channel == Channel::Voice => texts.no_calls.of(told.stops_all),
        Intent::Cancel if told.revokes && told.ours => {
            by(texts.stopped_visit.of(told.stops_all || told.no_calls), mail.stopped_visit)
        }
        _ if told.revokes && told.ours => by(texts.stopped.of(told.stops_all || told.no_calls), mail.stopped),
        Intent::Stop if told.no_calls && !told.revokes => texts.stopped_calls,
        Intent::Start if told.ours => by(texts.started, mail.started),
        Intent::Help if told.ours => by(texts.help, mail.help),
        Intent::Text | Intent::Cancel if !told.revokes => closed()?,
        _ => return None,
    })
}

/// The words that the configuration adds.
pub(super) fn more(config: &Config) -> More {
    let r = &config.replies;
    More::of([&r.stop, &r.start, &r.help, &r.wrong_number, &r.safety])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aloud_a_number_is_said_as_people_know_it() {
        let config = Config::from_toml(
            "[[site]]\nid = \"north\"\nname = \"Lakeside North\"\nphone = \"+13125550100\"\ntimezone = \"America/Chicago\"",
        );
        let config = config.unwrap();
        for (channel, intent, says) in [
            (Channel::Voice, Intent::Call, "Call us: (312) 555-0100. "),
            (Channel::Sms, Intent::Help, "Call us: +13125550100."),
        ] {
            let told = Told {
                channel,
                intent,
                revokes: false,
                no_calls: false,
                stops_all: false,
                asked: None,
                language: None,
                ours: true,
                locale: None,
                site: SiteId::parse("north"),
                choices: Vec::new(),
                hours: None,
            };
            let text = answer(&config, &told).unwrap().text;
            assert!(text.contains(says), "{text}");
        }
    }
}
