//! What a machine answers to a mail: the same that a text gets, in words for mails.

use std::sync::Arc;

use super::replies::{Told, answer};
use super::texts::in_language;
use crate::config::Config;
use crate::dispatch::AnswerLetter;
use crate::domain::words::Channel;
use crate::store::rows::MailAnswer;

/// Words answers; `None` where nothing is to be said.
pub(super) fn composer(config: Arc<Config>) -> impl Fn(&MailAnswer) -> Option<AnswerLetter> + Send + Sync {
    move |mail| letter(&config, mail)
}

fn letter(config: &Config, mail: &MailAnswer) -> Option<AnswerLetter> {
    let facts = &mail.facts;
    let told = Told {
        channel: Channel::Email,
        intent: facts.intent,
        revokes: facts.revokes,
        no_calls: false,
        stops_all: false,
        asked: facts.asked,
        language: facts.language.clone(),
        // No relay confirms a stop.
        ours: true,
        locale: facts.locale.clone(),
        site: facts.site.clone(),
        choices: Vec::new(),
        hours: Some((facts.wrote_before, mail.received_at)),
    };
    let answer = answer(config, &told)?;
    let site = facts.site.as_ref().and_then(|id| config.site(id));
    let name = site.map_or(config.organisation.name.as_str(), |site| site.name.get(answer.language));
    let subject = in_language(answer.language).by_mail.subject.replace("{name}", name);
    Some(AnswerLetter { subject, text: answer.text, language: answer.language })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::ids::{ProviderName, ReplyId, SiteId};
    use crate::domain::phi::Phi;
    use crate::domain::reply::{Intent, Thread};
    use crate::domain::words::Purpose;
    use crate::store::rows::MailAnswerFacts;

    fn config() -> Config {
        Config::from_toml(
            r#"
            [organisation]
            name = "Lakeside Health"
            [replies]
            emergency_number = "911"
            [[site]]
            id = "north"
            name = "Lakeside North"
            phone = "+13125550100"
            timezone = "America/Chicago"
            [site.hours]
            thu = ["08:00-17:00"]
        "#,
        )
        .unwrap()
    }

    fn mail(intent: Intent, revokes: bool, language: Option<&str>, at: &str) -> MailAnswer {
        let facts = MailAnswerFacts {
            intent,
            revokes,
            asked: (intent == Intent::Channel).then_some(Channel::Voice),
            language: language.map(str::to_owned),
            locale: Some("en-US".to_owned()),
            site: SiteId::parse("north"),
            purpose: Purpose::Care,
            wrote_before: None,
            about: "0".to_owned(),
            test: false,
            thread: Thread { message_id: Phi::new(""), references: Phi::new("") },
        };
        MailAnswer {
            id: ReplyId::generate(),
            provider: ProviderName::parse("mail").unwrap(),
            to: Phi::new("ana@example.net"),
            facts,
            received_at: at.parse::<Timestamp>().unwrap(),
            tries: 0,
        }
    }

    #[test]
    fn a_mail_gets_the_answer_that_a_text_gets() {
        // Chicago is at UTC-6: Thursday noon, and Thursday night.
        let (open, closed) = ("2026-12-03T18:00:00Z", "2026-12-04T03:00:00Z");
        for (intent, revokes, language, at, starts) in [
            (Intent::Stop, true, Some("en"), open, Some("Lakeside North: You will get no more mail from us")),
            (Intent::Stop, true, Some("es"), open, Some("Lakeside North: No recibirá más correos")),
            (Intent::Text, true, None, open, Some("Lakeside North: You will get no more mail from us")),
            (
                Intent::Cancel,
                true,
                Some("en"),
                open,
                Some(
                    "Lakeside North: You will get no more mail from us at this address. If you meant your visit",
                ),
            ),
            (Intent::Start, false, Some("en"), open, Some("Lakeside North: You will get mail from us again")),
            (
                Intent::Help,
                false,
                Some("en"),
                open,
                Some("Lakeside North writes to you about visits and care. Call us: +13125550100."),
            ),
            (Intent::Safety, false, Some("es"), open, Some("Nadie lee este correo ahora mismo.")),
            (Intent::Safety, false, Some("zh"), closed, Some("目前无人查看此邮件")),
            (Intent::Channel, false, Some("en"), open, Some("Lakeside North: From now on we call you first")),
            (
                Intent::Language,
                false,
                Some("es"),
                open,
                Some("Lakeside North: Desde ahora le escribimos en español"),
            ),
            (
                Intent::Text,
                false,
                None,
                closed,
                Some(
                    "Lakeside North: Thank you. Nobody reads your mail right now. Our hours: Thu 8:00 AM-5:00 PM. Call us: +13125550100. In an emergency call 911.",
                ),
            ),
            (
                Intent::Cancel,
                false,
                None,
                closed,
                Some("Lakeside North: Thank you. Nobody reads your mail right now."),
            ),
            // Somebody reads it.
            (Intent::Text, false, None, open, None),
            (Intent::WrongNumber, false, Some("en"), closed, None),
        ] {
            let letter = letter(&config(), &mail(intent, revokes, language, at));
            let text = letter.as_ref().map(|letter| letter.text.as_str());
            match starts {
                Some(starts) => {
                    assert!(text.is_some_and(|text| text.starts_with(starts)), "{intent}: {text:?}")
                }
                None => assert_eq!(text, None, "{intent}"),
            }
            assert!(text.is_none_or(|text| !text.contains('{')), "{intent}: {text:?}");
        }
        let stop = letter(&config(), &mail(Intent::Stop, true, Some("en"), open)).unwrap();
        assert_eq!(stop.subject, "Automatic answer: your mail to Lakeside North");
    }
}
