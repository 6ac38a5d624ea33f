//! Replies: on record once, and with them all that follows: who stands behind the number, what they want, what people
//! have to do. One transaction: an answer to the patient is an answer to what lasts.

use async_trait::async_trait;
use jiff::Timestamp;

use super::contacts::{proxy_id, spoil};
use super::questions::step;
use super::work::NewItem;
use super::{Ledger, Numbered, unfit};
use crate::domain::event::EventKind;
use crate::domain::ids::{AnswerName, AttemptId, PatientId, ReplyId, WorkItemId};
use crate::domain::patient::{ConsentSource, Patient};
use crate::domain::phi::Phi;
use crate::domain::reply::{Intent, Keyword, Reply};
use crate::domain::status::AttemptStatus;
use crate::domain::wish::{Terms, Wish};
use crate::domain::words::{Channel, ContactStatus, Priority, Purpose, Recipient, WorkKind};
use crate::policy::reply::Meaning;
use crate::store::columns::{Columns, facts};
use crate::store::emit::Emitter;
use crate::store::engine::{Args, Engine, args, bytes, ids, maybe_ids, maybe_texts, texts, try_bytes};
use crate::store::rows::{
    AddressConsent, AnswerFacts, Choice, MailAnswerFacts, MessageFacts, ReplyAsk, ReplyOutcome, ReplyText,
};
use crate::store::sealed::Sealed;
use crate::store::words;
use crate::store::{Replies, Result};

/// Records that one reply changes at most. A number behind which more stand is a switchboard's, not a household's.
const MOST_BEHIND: usize = 200;

/// The last message to a number over a channel, which is written out because the index has it so: of those that had begun
/// when the reply was said, where it was kept for a while. One that is known not to have come there is answered only where
/// there is no other, and a test only where no patient was written to.
macro_rules! last_over {
    ($channel:literal) => {
        concat!(
            "SELECT ",
            words::answered!(),
            " FROM {input} JOIN attempts a ON a.address_index = input.address_index ",
            "JOIN messages m ON m.id = a.message_id WHERE a.channel = '",
            $channel,
            "' AND a.status <> 'failed' AND a.begun_at <= COALESCE($1, a.begun_at) ",
            "ORDER BY m.test, a.status = 'undelivered', a.begun_at DESC LIMIT 1"
        )
    };
}
const LAST_TEXT: &str = last_over!("sms");
const LAST_CALL: &str = last_over!("voice");

/// The message whose step a reply answers.
const ANSWERED: &str = concat!(
    "SELECT ",
    words::answered!(),
    " FROM {input} JOIN attempts a ON a.message_id = input.message AND a.step = input.step ",
    "AND a.provider = input.provider JOIN messages m ON m.id = a.message_id ",
    "WHERE a.status <> 'failed' ORDER BY a.begun_at DESC LIMIT 1"
);

/// What a reply follows, and when.
struct Context {
    id: ReplyId,
    /// The address that counts: what the step that it answers went to, else what it came from; empty: nobody's.
    address: Phi,
    /// It is certain that whoever has this address has said it; else it counts for a stop alone.
    is_theirs: bool,
    /// `None`: nothing was ever sent to that number.
    facts: Option<MessageFacts>,
    locale: Option<String>,
    /// That brought it; `None` also while it is on the wire: nobody answers what they do not have.
    attempt: Option<(AttemptId, Channel)>,
    /// They have it: it has come, as far as is known, or their answer names it. A word may be about another one.
    has_come: bool,
    /// Whose contact it went to.
    recipient: Recipient,
    meaning: Meaning,
    /// Which of the answers that the message offers.
    answer: Option<AnswerName>,
    choices: Vec<Choice>,
    wrote_before: Option<Timestamp>,
    /// Kept with what follows from it.
    evidence: String,
    now: Timestamp,
    /// When the patient said it.
    said_at: Timestamp,
    stops_all: bool,
}

impl Context {
    fn answers(&self) -> AnswerFacts {
        AnswerFacts {
            intent: self.meaning.intent,
            locale: self.locale.clone(),
            site: self.facts.as_ref().and_then(|facts| facts.site.clone()),
            choices: self.choices.clone(),
            wrote_before: self.wrote_before,
            now: self.now,
            stops_all: self.stops_all,
        }
    }

    /// Nothing more is to go to the address over these channels.
    fn stops(&self, reply: &Reply) -> Vec<AddressConsent> {
        let by_number = matches!(reply.channel, Channel::Sms | Channel::Voice);
        let mut channels = match (self.meaning.revokes, self.stops_all && by_number) {
            (true, true) => vec![Channel::Sms, Channel::Voice],
            (true, false) => vec![reply.channel],
            (false, _) => Vec::new(),
        };
        if self.meaning.no_calls && !channels.contains(&Channel::Voice) {
            channels.push(Channel::Voice);
        }
        let stop = |channel| AddressConsent { channel, ..said(reply, self, false, None) };
        channels.into_iter().filter(|_| self.is_somebodys()).map(stop).collect()
    }

    /// There is an address that a word can bind.
    fn is_somebodys(&self) -> bool {
        !self.address.expose().is_empty()
    }

    /// What a stop took may go there again, over the channel that asks for it.
    fn starts(&self, ask: &ReplyAsk) -> Vec<AddressConsent> {
        let free = |purpose: &&Purpose| !ask.opt_in.contains(purpose);
        let grant = |purpose: &Purpose| said(&ask.reply, self, true, Some(*purpose));
        Purpose::ALL.iter().filter(free).map(grant).collect()
    }
}

#[async_trait]
impl<E: Engine> Replies for Ledger<E> {
    async fn reply(&self, ask: &ReplyAsk) -> Result<ReplyOutcome> {
        let mut tx = self.engine.begin().await?;
        let context = self.context(&mut tx, ask).await?;
        if ask.reply.keyword == Some(Keyword::Key) && context.answer.is_none() {
            return Ok(ReplyOutcome::OtherKey);
        }
        if !self.keep_reply(&mut tx, &ask.reply, &context).await? {
            return Ok(ReplyOutcome::Known { first: self.first_answer(&mut tx, &ask.reply).await? });
        }
        let meaning = context.meaning;
        // Whoever answers has read it, whatever they say; a stranger has read what was meant for somebody else.
        // Whoever calls back, or complains, need not have, and a telephone that answers by itself has not.
        if let (Some(facts), Some((attempt, channel)), true) =
            (&context.facts, context.attempt, context.has_come)
            && !matches!(
                meaning.intent,
                Intent::WrongNumber | Intent::Call | Intent::Complaint | Intent::Machine
            )
        {
            self.has_read(&mut tx, facts, (attempt, channel, context.recipient), context.now).await?;
        }
        if let (Some(facts), Some(_)) = (&context.facts, &context.answer) {
            Self::has_answer(&mut tx, facts.id).await?;
        }
        let (mut changes, mut others) = (Vec::new(), false);
        match meaning.intent {
            Intent::WrongNumber => {
                // What cannot be marked people look into.
                others = !context.is_theirs
                    || self.mark_wrong(&mut tx, &ask.reply, &context, &mut changes).await?;
                Self::hurry(&mut tx, &context).await?;
            }
            Intent::Language | Intent::Channel if context.is_theirs => {
                self.prefer(&mut tx, &context, &mut changes).await?;
            }
            Intent::Start if context.is_theirs => {
                self.write_consents(&mut tx, &context.starts(ask)).await?;
                self.unmark_address(&mut tx, &context.address).await?;
            }
            Intent::Complaint => {
                // What they complain of, and no more: a press of a button beside a mail is no word about the others.
                if let Some(facts) = context.facts.as_ref().filter(|_| context.is_somebodys()) {
                    let no = said(&ask.reply, &context, false, Some(facts.purpose));
                    self.write_consents(&mut tx, &[no]).await?;
                }
            }
            Intent::Language
            | Intent::Channel
            | Intent::Start
            | Intent::Stop
            | Intent::Cancel
            | Intent::Help
            | Intent::Safety
            | Intent::Call
            | Intent::Answer
            | Intent::Unclear
            | Intent::Late
            | Intent::Reaction
            | Intent::Machine
            | Intent::Text => {}
        }
        let stops = context.stops(&ask.reply);
        self.write_consents(&mut tx, &stops).await?;
        let binds = !stops.is_empty() || meaning.intent == Intent::Complaint;
        if let Some(facts) = context.facts.as_ref().filter(|_| !stops.is_empty()) {
            Self::keep_campaign_stop(&mut tx, facts.id).await?;
        }
        self.tell_reply(&mut tx, &ask.reply, &context, &changes).await?;
        // Whoever was not heard at once is not asked back which message they mean: a person asks them.
        let unasked =
            meaning.intent == Intent::Unclear && ask.said_at.is_some() && ask.reply.channel != Channel::Email;
        // Whether the others behind the number are there people have to ask.
        if let Some(kind) = meaning.work().or_else(|| (others || unasked).then_some(WorkKind::Reply)) {
            self.open_items(&mut tx, &[item(kind, &context)]).await?;
        }
        E::commit(tx).await?;
        self.look_again(Some(&context.address).filter(|_| binds && context.is_somebodys()).into_iter()).await;
        let changed = !changes.is_empty();
        Ok(ReplyOutcome::New { meaning, facts: Box::new(context.answers()), changed })
    }

    async fn reply_text(&self, item: WorkItemId) -> Result<Option<ReplyText>> {
        let rows = self
            .engine
            .read(
                "SELECT r.intent, r.body, r.received_at, r.answer, r.id, r.address
                 FROM work_items w JOIN replies r ON r.id = w.reply_id WHERE w.id = $1",
                args![item.0],
            )
            .await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let id = row.id(4)?;
        let open = |column: Sealed, stored: Option<&[u8]>| {
            stored.map(|stored| self.sealer.open_text(column.of(id), stored)).transpose()
        };
        let from = open(Sealed::ReplyAddress, row.maybe_bytes(5)?)?;
        Ok(Some(ReplyText {
            intent: row.word(0, Intent::from_word)?,
            text: open(Sealed::ReplyBody, row.maybe_bytes(1)?)?,
            from: from.filter(|from| !from.expose().is_empty()),
            received_at: row.time(2)?,
            answer: row.maybe_word(3, AnswerName::parse)?,
        }))
    }
}

impl<E: Engine> Ledger<E> {
    /// What the answer depended on when the reply came first.
    async fn first_answer(&self, tx: &mut E::Tx, reply: &Reply) -> Result<Option<Box<AnswerFacts>>> {
        if reply.channel == Channel::Email {
            return Ok(None);
        }
        let sql = "SELECT id, told FROM replies WHERE provider = $1 AND provider_ref = $2";
        let rows = E::run(tx, sql, args![reply.provider.as_str(), reply.reference.as_str()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let Some(told) = row.maybe_bytes(1)? else { return Ok(None) };
        let told = self.sealer.open_text(Sealed::ReplyTold.of(row.id(0)?), told)?;
        serde_json::from_str(told.expose()).map(Some).map_err(|_| unfit("what an answer depends on"))
    }

    async fn context(&self, tx: &mut E::Tx, ask: &ReplyAsk) -> Result<Context> {
        let question = self.question(tx, ask).await?;
        let rows = match &ask.reply.about {
            _ if !question.rows.is_empty() => question.rows,
            Some(key) => E::run(tx, ANSWERED, step(key, &ask.reply.provider)).await?,
            // A number that is withheld is nobody's, and what went nowhere that is known has the same index.
            None if ask.reply.from.expose().is_empty() => Vec::new(),
            None => {
                let index = [self.sealer.index(&ask.reply.from)];
                let there = || args![ask.said_at].batch(vec![bytes("address_index", &index, Clone::clone)]);
                // Whoever calls back was called, or has read the number in a text.
                let called = match ask.reply.channel {
                    Channel::Voice => E::run(tx, LAST_CALL, there()).await?,
                    _ => Vec::new(),
                };
                if called.is_empty() { E::run(tx, LAST_TEXT, there()).await? } else { called }
            }
        };
        let (address, is_certain) = self.address_that_counts(tx, &ask.reply, rows.first()).await?;
        let facts: Option<MessageFacts> = rows.first().map(facts).transpose()?;
        let locale = rows.first().map(|row| row.text(14)).transpose()?.map(str::to_owned);
        let (mut attempt, mut has_come, mut recipient) = (None, false, Recipient::Patient);
        if let Some(row) = rows.first() {
            let status = row.word(16, AttemptStatus::from_word)?;
            let channel = row.word(18, Channel::from_word)?;
            // Whoever names the digit of a question has it, though its provider has not said so yet.
            let is_named = question.answer.is_some() || ask.reply.about.is_some();
            let has_it = status != AttemptStatus::Sending || question.answer.is_some();
            attempt = has_it.then_some((AttemptId(row.id(15)?), channel));
            has_come = is_named || status.has_come();
            recipient = row.word(19, Recipient::from_word)?;
        }
        let meaning = question.meaning.after(facts.as_ref().map(|facts| facts.purpose));
        let (provider, reference) = (&ask.reply.provider, &ask.reply.reference);
        let now = Self::now(tx).await?;
        let word = meaning.evidence(ask.reply.text.expose());
        Ok(Context {
            id: ReplyId::generate(),
            is_theirs: is_certain && !address.expose().is_empty(),
            address,
            evidence: format!("reply {provider} {reference}: {word}"),
            said_at: ask.said_at.map_or(now, |at| at.min(now)),
            now,
            stops_all: ask.stops_all_from.is_some_and(|from| from <= now),
            facts,
            locale,
            attempt,
            has_come,
            recipient,
            meaning,
            answer: question.answer,
            choices: question.choices,
            wrote_before: self.wrote_before(tx, &ask.reply.from).await?,
        })
    }

    /// The address that counts, and whether it is certain that it does. Anybody can write any From: where the address that was
    /// written to is erased, its index tells whether a reply comes from there; where none is on record, it is believed for a
    /// stop.
    async fn address_that_counts(
        &self,
        tx: &mut E::Tx,
        reply: &Reply,
        row: Option<&E::Row>,
    ) -> Result<(Phi, bool)> {
        let (Some(_), Some(row)) = (reply.about, row) else {
            return Ok((reply.from.clone(), reply.about.is_none()));
        };
        let known = self.address_of(row, 15, 17)?;
        if !known.expose().is_empty() {
            return Ok((known, true));
        }
        let sql = "SELECT address_index FROM attempts WHERE id = $1";
        let went_to = E::run(tx, sql, args![row.id(15)?]).await?;
        let went_to = went_to.first().map(|row| row.bytes(0)).transpose()?;
        let is = |address: &Phi| went_to.is_some_and(|index| index == self.sealer.index(address));
        let nowhere = Phi::new("");
        Ok(match (is(&reply.from), is(&nowhere)) {
            (true, _) => (reply.from.clone(), true),
            (false, true) => (reply.from.clone(), false),
            (false, false) => (nowhere, false),
        })
    }

    /// False: it is on record already.
    async fn keep_reply(&self, tx: &mut E::Tx, reply: &Reply, context: &Context) -> Result<bool> {
        let one = [reply];
        let facts = context.facts.as_ref();
        let at = |column: Sealed| column.of(context.id.0);
        let told = told(reply, context);
        let kind = told
            .as_ref()
            .map(|told| if told.revokes || told.intent == Intent::Safety { "owed" } else { "courtesy" });
        let batch = vec![
            ids("id", &one, |_| context.id.0),
            texts("provider", &one, |r| r.provider.as_str()),
            texts("provider_ref", &one, |r| &r.reference),
            bytes("address_index", &one, |_| self.sealer.index(&context.address)),
            try_bytes("address", &one, |_| {
                self.sealer.seal_text(at(Sealed::ReplyAddress), &context.address)
            })?,
            maybe_ids("message_id", &one, |_| facts.map(|facts| facts.id.0)),
            maybe_texts("patient_id", &one, |_| facts.map(|facts| facts.patient_id.as_str())),
            texts("intent", &one, |_| context.meaning.intent.as_str()),
            maybe_texts("answer", &one, |_| context.answer.as_ref().map(AnswerName::as_str)),
            try_bytes("body", &one, |r| self.sealer.seal_text(at(Sealed::ReplyBody), &r.text))?,
            maybe_texts("answer_kind", &one, |_| kind),
            try_bytes("told", &one, |r| match &told {
                Some(told) => self.seal_told(context.id, told),
                None if r.channel == Channel::Email => Ok(Vec::new()),
                None => self.seal_told(context.id, &context.answers()),
            })?,
        ];
        let rows = E::run(
            tx,
            "INSERT INTO replies (id, provider, provider_ref, address_index, address, message_id, patient_id, intent, answer,
                 body, received_at, answer_kind, answer_state, answer_due, told)
             SELECT id, provider, provider_ref, address_index, address, message_id, patient_id, intent, answer, body, now(),
                 answer_kind, CASE WHEN answer_kind IS NULL THEN NULL ELSE 'due' END,
                 CASE WHEN answer_kind IS NULL THEN NULL ELSE now() END, CASE WHEN length(told) = 0 THEN NULL ELSE told END
             FROM {input} WHERE true ON CONFLICT (provider, provider_ref) DO NOTHING RETURNING id",
            Args::none().batch(batch),
        )
        .await?;
        Ok(!rows.is_empty())
    }

    /// Everybody who stands behind the address, locked.
    async fn behind(&self, tx: &mut E::Tx, context: &Context) -> Result<Vec<Patient>> {
        let index = [self.sealer.index(&context.address)];
        let rows = E::run(
            tx,
            "SELECT pa.patient_id FROM {input} JOIN patient_addresses pa ON pa.address_index = input.address_index
             ORDER BY pa.patient_id",
            Args::none().batch(vec![bytes("address_index", &index, Clone::clone)]),
        )
        .await?;
        let ids = rows.iter().take(MOST_BEHIND).map(|row| row.word(0, PatientId::parse));
        let ids = ids.collect::<Result<Vec<PatientId>>>()?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut patients: Vec<Patient> = self.lock_patients(tx, &ids).await?.patients.into_values().collect();
        patients.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(patients)
    }

    /// Marks the contact of the patient who was written to, in the record that holds it: theirs, or that of somebody who
    /// stands in for them; where it was read in their place, in each of these. A number that is wrong for texts is wrong for
    /// calls. What the job brought along and no record of theirs has is marked by the address. Whoever answers says nothing
    /// of the others behind the number, who may be a household: true, where there are any.
    async fn mark_wrong(
        &self,
        tx: &mut E::Tx,
        reply: &Reply,
        context: &Context,
        changes: &mut Vec<(PatientId, EventKind)>,
    ) -> Result<bool> {
        let mut others = self.behind(tx, context).await?;
        let most = if context.recipient == Recipient::Proxy { usize::MAX } else { 1 };
        let mut holders = Vec::new();
        for id in self.written_to(tx, context).await? {
            let place = others.iter().position(|p| p.id == id).filter(|_| holders.len() < most);
            holders.extend(place.map(|place| others.remove(place)));
        }
        let channels: &[Channel] =
            if reply.channel == Channel::Email { &[Channel::Email] } else { &[Channel::Sms, Channel::Voice] };
        let over = context.attempt.map_or(reply.channel, |(_, channel)| channel);
        let how = (ContactStatus::Wrong, context.evidence.as_str());
        if holders.is_empty() {
            // It came with the job: no record of theirs could be marked.
            let is_new = self.mark_address(tx, &context.address, channels, how).await?;
            if let Some(facts) = context.facts.as_ref().filter(|_| is_new) {
                changes.push((facts.patient_id.clone(), EventKind::Contact(ContactStatus::Wrong)));
            }
            return Ok(!others.is_empty());
        }
        let mark = |patient: &Patient, channel: Channel| {
            spoil(patient, channel, &context.address, (ContactStatus::Wrong, context.now))
        };
        let has_over = |holder: &Patient| {
            holder.every_contact().any(|c| c.channel == over && c.address == context.address)
        };
        // Their records have the number for another channel than the one that it was written over: this one the job brought.
        let is_brought = channels.contains(&over) && !holders.iter().any(has_over);
        let mut is_new = is_brought && self.mark_address(tx, &context.address, &[over], how).await?;
        for holder in holders {
            let id = holder.id.clone();
            let (mut marked, mut what) = (holder, Vec::new());
            for channel in channels {
                if let Some(spoilt) = mark(&marked, *channel) {
                    marked = spoilt;
                    what.push(format!("contact {channel} {}", ContactStatus::Wrong));
                }
            }
            if !what.is_empty() {
                self.rewrite(tx, marked, &what, context).await?;
            }
            if !what.is_empty() || std::mem::take(&mut is_new) {
                changes.push((id, EventKind::Contact(ContactStatus::Wrong)));
            }
        }
        Ok(others.iter().any(|other| channels.iter().any(|channel| mark(other, *channel).is_some())))
    }

    /// The patient of the message, and after them the patients who stand in for them.
    async fn written_to(&self, tx: &mut E::Tx, context: &Context) -> Result<Vec<PatientId>> {
        let Some(facts) = &context.facts else { return Ok(Vec::new()) };
        let stored = self.lock_patients(tx, std::slice::from_ref(&facts.patient_id)).await?;
        let id = stored.resolve(&facts.patient_id);
        let proxies = stored.patients.get(&id).into_iter().flat_map(|patient| &patient.proxies);
        let proxies: Vec<PatientId> = proxies.filter_map(proxy_id).cloned().collect();
        Ok(std::iter::once(id).chain(proxies).collect())
    }

    /// A plan does not wait for an answer from somebody else: its next step is due.
    async fn hurry(tx: &mut E::Tx, context: &Context) -> Result<()> {
        if let Some((attempt, _)) = context.attempt {
            E::run(
                tx,
                "UPDATE messages SET due_at = now() WHERE last_attempt = $1 AND status IN ('unknown', 'sent', 'delivered')
                     AND step > 0 AND due_at > now() AND lease_token IS NULL AND id = $2",
                args![attempt.0, context.facts.as_ref().map(|facts| facts.id.0)],
            )
            .await?;
        }
        Ok(())
    }

    /// Those whose own address it is read another language from now on, or are reached by another way first, as if they
    /// had chosen it on their page.
    async fn prefer(
        &self,
        tx: &mut E::Tx,
        context: &Context,
        changes: &mut Vec<(PatientId, EventKind)>,
    ) -> Result<()> {
        let terms = Terms { opt_in: &[], now: context.now, evidence: &context.evidence };
        for patient in self.behind(tx, context).await? {
            let own = patient.contacts.iter().any(|contact| contact.address == context.address);
            let Some(wish) = wish(&context.meaning, &patient).filter(|_| own) else { continue };
            let granted = wish.grant(&patient, &terms);
            if granted.changes.is_empty() {
                continue;
            }
            self.rewrite(tx, granted.patient, &granted.changes, context).await?;
            changes.push((patient.id, EventKind::PreferenceChanged));
        }
        Ok(())
    }

    /// Writes the record as it stands from now on, and keeps what has changed.
    async fn rewrite(
        &self,
        tx: &mut E::Tx,
        patient: Patient,
        what: &[String],
        context: &Context,
    ) -> Result<()> {
        let id = patient.id.clone();
        self.write_patients(tx, vec![patient]).await?;
        Self::keep_changes(tx, &id, ConsentSource::Patient.as_str(), what, &context.evidence).await
    }

    /// The reply takes its place among the events of the message that it follows.
    async fn tell_reply(
        &self,
        tx: &mut E::Tx,
        reply: &Reply,
        context: &Context,
        changes: &[(PatientId, EventKind)],
    ) -> Result<()> {
        let facts = context.facts.as_ref();
        let mut seq = 0;
        if let Some(facts) = facts {
            seq = Self::next_seq(tx, facts.id).await?;
        }
        let from = (reply.channel, &reply.provider);
        let meant = (context.meaning.intent, context.answer.as_ref());
        let read = facts.map(|facts| (facts, context.recipient));
        let event = Emitter::reply(read, meant, from, (context.said_at, context.now));
        let mut events = vec![Numbered { message: facts.map(|facts| facts.id), seq, event }];
        let source = facts.map(|facts| &facts.source);
        events.extend(changes.iter().map(|(patient, kind)| {
            let event =
                Emitter::changed_by_reply((source, reply.channel), patient, kind.clone(), context.now);
            Numbered { message: None, seq: 0, event }
        }));
        self.insert_events(tx, &events).await
    }
}

/// What the reply asks for that is not so already. A language may say more than is asked for: es-US is Spanish.
fn wish(meaning: &Meaning, patient: &Patient) -> Option<Wish> {
    let primary = |tag: &str| tag.split('-').next().unwrap_or_default().to_ascii_lowercase();
    match meaning.intent {
        Intent::Channel => meaning.channel.map(|channel| Wish::First(Some(channel))),
        _ => {
            let tag = meaning.language?;
            let reads = patient.language.as_deref().is_some_and(|known| primary(known) == primary(tag));
            (!reads).then(|| Wish::Language(tag.to_owned()))
        }
    }
}

/// What the answer to a mail depends on; `None`: it gets none. Whoever has no mail of ours, as far as is known, is not
/// written to.
fn told(reply: &Reply, context: &Context) -> Option<MailAnswerFacts> {
    let (facts, meaning) = (context.facts.as_ref()?, context.meaning);
    let silent = matches!(
        meaning.intent,
        Intent::WrongNumber | Intent::Complaint | Intent::Call | Intent::Reaction | Intent::Machine
    );
    if reply.channel != Channel::Email || !context.is_theirs || (silent && !meaning.revokes) {
        return None;
    }
    Some(MailAnswerFacts {
        intent: meaning.intent,
        revokes: meaning.revokes,
        asked: meaning.channel,
        language: meaning.language.map(str::to_owned),
        locale: context.locale.clone(),
        site: facts.site.clone(),
        purpose: facts.purpose,
        wrote_before: context.wrote_before,
        about: reply.about?.to_string(),
        test: facts.test,
        thread: reply.thread.clone()?,
    })
}

/// What was said, binding everybody behind the address.
fn said(reply: &Reply, context: &Context, granted: bool, purpose: Option<Purpose>) -> AddressConsent {
    AddressConsent {
        channel: reply.channel,
        address: context.address.clone(),
        purpose,
        granted,
        at: context.said_at,
        source: ConsentSource::Patient,
        by: None,
        evidence: Some(context.evidence.clone()),
    }
}

fn item(kind: WorkKind, context: &Context) -> NewItem<'_> {
    let item = context
        .facts
        .as_ref()
        .map_or_else(|| NewItem::bare(kind, Priority::Normal), |facts| NewItem::about(kind, facts));
    let priority = if kind == WorkKind::Safety { Priority::Urgent } else { item.priority };
    NewItem { reply: Some(context.id.0), priority, ..item }
}
