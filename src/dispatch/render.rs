//! From a plan to a text for one channel.

use std::collections::HashMap;

use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use super::{Corridor, Planned, Reader};
use crate::config::Config;
use crate::config::provider::{ProviderSection, ProviderSettings};
use crate::config::site::{LocalText, SiteSection};
use crate::domain::ids::{AnswerName, SiteId};
use crate::domain::outbound::{Content, Sender};
use crate::domain::page::PageToken;
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::words::{Channel, Recipient};
use crate::store::rows::{JobBody, MessageFacts};
use crate::template::{Catalogue, RecipientContext, RenderError, RenderRequest, Rendered, SiteContext};

/// The configured places, as texts speak of them.
#[derive(Debug)]
pub(super) struct Sites {
    by_id: HashMap<SiteId, SiteContext>,
    no_place: SiteContext,
}

impl Sites {
    pub(super) fn of(config: &Config) -> Self {
        let by_id = config.sites.iter().map(|site| (site.id.clone(), context(site))).collect();
        Self { by_id, no_place: no_place(config) }
    }

    /// The place that writes, if one does.
    pub(super) fn get(&self, site: Option<&SiteSection>) -> Option<&SiteContext> {
        site.map_or(Some(&self.no_place), |site| self.by_id.get(&site.id))
    }
}

/// One configured place, as texts speak of it; previews show what it will look like.
#[must_use]
pub fn site_context(config: &Config, id: &SiteId) -> Option<SiteContext> {
    config.site(id).map(context)
}

pub(super) fn context(site: &SiteSection) -> SiteContext {
    SiteContext {
        names: site.name.by_tag(),
        phone: site.phone.clone(),
        timezone: site.zone().and_then(TimeZone::iana_name).map(str::to_owned),
        postal_address: site.postal_address.clone(),
        portal_url: site.portal_url.clone(),
        opt_out_texts: site.opt_out.as_ref().map(LocalText::by_tag).unwrap_or_default(),
    }
}

/// Where no place writes: the organisation's zone. UTC stands there where nobody has said one: then a value's own offset
/// tells more.
pub(super) fn no_place(config: &Config) -> SiteContext {
    let zone = Some(&config.organisation.timezone).filter(|zone| **zone != TimeZone::UTC);
    SiteContext { timezone: zone.and_then(TimeZone::iana_name).map(str::to_owned), ..SiteContext::default() }
}

/// What a text takes from the place that writes it.
pub(super) struct Letterhead<'a> {
    pub(super) site: Option<&'a SiteSection>,
    /// What its reader reads, else what is spoken there. For readers of a language that it lacks a template decides itself.
    pub(super) languages: Vec<&'a str>,
    pub(super) region: &'a str,
}

/// The letterhead for whoever reads this language; the organisation's where no place writes.
pub(super) fn letterhead<'a>(
    config: &'a Config,
    facts: &MessageFacts,
    patient: &Patient,
    language: Option<&'a str>,
) -> Letterhead<'a> {
    let (site, organisation) = (place(config, facts, patient), &config.organisation);
    let spoken = site.map_or(organisation.language.as_str(), |site| site.language.as_str());
    Letterhead {
        site,
        languages: vec![language.unwrap_or(spoken)],
        region: site.map_or(organisation.default_region.as_str(), |site| site.region.as_str()),
    }
}

/// The place that writes: the message's own, else its patient's.
fn place<'a>(config: &'a Config, facts: &MessageFacts, patient: &Patient) -> Option<&'a SiteSection> {
    facts.site.as_ref().or(patient.site.as_ref()).and_then(|id| config.site(id))
}

/// What a text is made of.
pub(super) struct Text<'a> {
    pub(super) facts: &'a MessageFacts,
    pub(super) body: &'a JobBody,
    pub(super) patient: &'a Patient,
    pub(super) reader: &'a Reader,
    pub(super) channel: Channel,
    /// Only that the portal has something.
    pub(super) pointer: bool,
    /// Those of the answers that it offers.
    pub(super) digits: &'a [(AnswerName, u8)],
}

impl<'a> Text<'a> {
    fn of(planned: &'a Planned, digits: &'a [(AnswerName, u8)]) -> Self {
        Self {
            facts: &planned.hand.facts,
            body: &planned.hand.body,
            patient: &planned.patient,
            reader: &planned.reader,
            channel: planned.route.channel,
            pointer: planned.pointer,
            digits,
        }
    }
}

/// Renders the planned message for its route's channel, with all that it carries.
pub(super) fn render(
    corridor: &Corridor,
    catalogue: &Catalogue,
    planned: &Planned,
    digits: &[(AnswerName, u8)],
) -> Result<Rendered, RenderError> {
    let named = !planned.unnamed;
    let line =
        |rider: &Planned| asked(corridor, &Text::of(rider, &[]), named, |request| catalogue.also(request));
    let also = planned.riders.iter().map(line).collect::<Result<Vec<String>, RenderError>>()?;
    asked(corridor, &Text::of(planned, digits), named, |request| match also.as_slice() {
        // A pointer carries nobody.
        [] => catalogue.render_either(request, planned.pointer),
        also => catalogue.render_together(request, also),
    })
}

/// Whether its text still reveals no more than was asked about: templates may have been exchanged since.
pub(super) fn is_within(catalogue: &Catalogue, planned: &Planned) -> bool {
    let channel = planned.route.channel;
    if planned.pointer {
        return catalogue.pointers().contains(&channel);
    }
    let template = catalogue.get(&planned.hand.facts.template);
    template.is_none_or(|template| template.manifest.phi(channel) <= planned.class)
}

/// Renders a text by itself; where not `named`, without names.
pub(super) fn text(corridor: &Corridor, of: &Text<'_>, named: bool) -> Result<Rendered, RenderError> {
    let catalogue = corridor.catalogue.current();
    asked(corridor, of, named, |request| catalogue.render_either(request, of.pointer))
}

/// Makes the request for a text, and asks with it. Without names it has no link either: that leads to one of them. A
/// proxy's link stops what comes to their address, and shows nothing of the patient's record.
fn asked<T>(corridor: &Corridor, of: &Text<'_>, named: bool, ask: impl FnOnce(&RenderRequest<'_>) -> T) -> T {
    let (facts, body) = (of.facts, of.body);
    let letterhead = letterhead(&corridor.config, facts, of.patient, of.reader.language.as_deref());
    let public_url = corridor.config.http.public_url.as_deref().filter(|_| named);
    let link = public_url.map(|public_url| PageToken::from_bits(rand::random()).link(public_url));
    ask(&RenderRequest {
        template: &facts.template,
        channel: of.channel,
        languages: &letterhead.languages,
        data: &body.data,
        patient: of.patient.name.as_ref().filter(|_| named),
        recipient: RecipientContext {
            name: of.reader.name.as_ref().filter(|_| named),
            ..of.reader.context()
        },
        site: corridor.sites.get(letterhead.site),
        organisation: &corridor.config.organisation.name,
        is_change: facts.is_change,
        test: facts.test,
        drafts: facts.test,
        keypad: hears_keys(&corridor.config),
        mailbox: hears_mail(&corridor.config),
        digits: of.digits,
        unsubscribe_url: link.as_deref(),
        region: Some(letterhead.region),
    })
}

/// Whether keys that are pressed in calls reach us, whoever carries them: only then may a text speak of keys.
fn hears_keys(config: &Config) -> bool {
    all_hear(config, Channel::Voice, |settings| match settings {
        ProviderSettings::TwilioVoice(twilio) => twilio.gather_action.is_some(),
        _ => false,
    })
}

/// Whether what is answered to a mail reaches us, whoever carries it.
fn hears_mail(config: &Config) -> bool {
    all_hear(config, Channel::Email, |settings| match settings {
        ProviderSettings::Smtp(smtp) => smtp.reply_address.is_some(),
        _ => false,
    })
}

fn all_hear(config: &Config, channel: Channel, hears: impl Fn(&ProviderSettings) -> bool) -> bool {
    let mut carriers = config.providers_for(channel).peekable();
    carriers.peek().is_some() && carriers.all(|provider: &ProviderSection| hears(&provider.settings))
}

/// The rendered content with what only the contact knows.
pub(super) fn addressed(content: Content, planned: &Planned) -> Content {
    match content {
        Content::Voice { speech, voicemail, .. } => {
            let route = &planned.route;
            let left = may_be_left(&planned.patient, &route.address, planned.reader.recipient);
            let voicemail = voicemail.filter(|_| left);
            Content::Voice { speech, voicemail, extension: route.extension.clone() }
        }
        other => other,
    }
}

/// Whether a machine that takes a call may be told anything. The contact's own wish comes first; to a proxy's machine
/// nothing is said: who else listens there is not known.
pub(super) fn may_be_left(patient: &Patient, address: &Phi, recipient: Recipient) -> bool {
    let contact = patient.contacts.iter().find(|c| c.channel == Channel::Voice && c.address == *address);
    recipient == Recipient::Patient
        && contact.is_some_and(|contact| contact.leave_message.as_deref() != Some("none"))
}

/// Whom the message comes from: the site's own sender, else one of the provider's. One address keeps one number.
pub(super) fn sender(corridor: &Corridor, planned: &Planned, own: &[String]) -> Option<Sender> {
    let place = place(&corridor.config, &planned.hand.facts, &planned.patient);
    let senders = place.map(|site| &site.senders);
    let bare = |address: String| Sender { address, name: None };
    match planned.route.channel {
        Channel::Email => senders.and_then(|s| s.email.clone()),
        Channel::Portal => senders.and_then(|s| s.portal.clone()).map(bare),
        Channel::Sms | Channel::Voice => {
            let of_site =
                senders.map(|s| if planned.route.channel == Channel::Sms { &s.sms } else { &s.voice });
            let list = of_site.filter(|list| !list.is_empty()).map_or(own, Vec::as_slice);
            pick(list, &planned.route.address).cloned().map(bare)
        }
    }
}

/// The number for `address`: always the same while it is on the list, and adding another moves only the share of people
/// that the new one takes (rendezvous hashing).
fn pick<'a>(list: &'a [String], address: &Phi) -> Option<&'a String> {
    if let [only] = list {
        return Some(only);
    }
    let score = |sender: &str| Sha256::new().chain_update(sender).chain_update(address.expose()).finalize();
    list.iter().max_by_key(|sender| score(sender))
}

/// A number that is the same for the same address, always.
pub(super) fn mark(address: &Phi) -> u64 {
    // FNV-1a: stable over releases and machines, which the standard hasher is not.
    address.expose().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::facts_of_a_test;
    use crate::domain::phone::Region;
    use crate::domain::reader::{Expect, ParseDefaults};

    fn ana(contact: &str) -> Patient {
        let text =
            format!(r#"{{"id": "P1", "updated_at": "2026-11-20T08:00:00Z", "contacts": [{contact}]}}"#);
        let defaults = ParseDefaults::new(None, Region::US);
        Patient::parse(text.as_bytes(), &defaults, Expect { id: None, updated_at: true }).unwrap()
    }

    #[test]
    fn a_machine_is_told_something_only_where_its_owner_lets_it_be() {
        let call = r#""channel": "voice", "address": "+13125550142""#;
        for (contact, recipient, left) in [
            (format!("{{{call}}}"), Recipient::Patient, true),
            (format!(r#"{{{call}, "leave_message": "brief"}}"#), Recipient::Patient, true),
            (format!(r#"{{{call}, "leave_message": "none"}}"#), Recipient::Patient, false),
            (format!("{{{call}}}"), Recipient::Proxy, false),
            (r#"{"channel": "sms", "address": "+13125550142"}"#.to_owned(), Recipient::Patient, false),
        ] {
            let found = may_be_left(&ana(&contact), &Phi::new("+13125550142"), recipient);
            assert_eq!(found, left, "{contact} {recipient:?}");
        }
    }

    #[test]
    fn what_is_spoken_there_is_no_language_of_a_reader_who_has_one() {
        let config = Config::from_toml("[organisation]\nlanguage = \"es\"").unwrap();
        for (reads, languages) in [(Some("vi"), ["vi"]), (None, ["es"])] {
            let (facts, patient) = (facts_of_a_test(), ana(""));
            assert_eq!(letterhead(&config, &facts, &patient, reads).languages, languages);
        }
    }

    #[test]
    fn without_a_place_or_a_zone_of_its_own_the_organisations_clock_is_shown_where_it_has_one() {
        let north = "[[site]]\nid = \"north\"\nname = \"North\"";
        for (organisation, zone) in [
            ("[organisation]\ntimezone = \"America/Chicago\"", Some("America/Chicago")),
            ("[organisation]\ntimezone = \"UTC\"", None),
            ("", None),
        ] {
            for (own, shown) in [("", zone), ("\ntimezone = \"America/Denver\"", Some("America/Denver"))] {
                let config = Config::from_toml(&format!("{organisation}\n{north}{own}")).unwrap();
                let sites = Sites::of(&config);
                let timezone = |site| sites.get(site).unwrap().timezone.as_deref();
                assert_eq!(timezone(None), zone, "{organisation}");
                assert_eq!(timezone(Some(&config.sites[0])), shown, "{organisation}{own}");
            }
        }
    }

    #[test]
    fn one_person_keeps_one_number_when_another_is_added() {
        let two: Vec<String> = ["+13125550100", "+13125550101"].map(str::to_owned).into();
        let three = [two.clone(), vec!["+13125550102".to_owned()]].concat();
        let people: Vec<Phi> = (0..3_000).map(|n| Phi::new(format!("+1312{n:07}"))).collect();
        let mut moved = 0;
        for person in &people {
            let before = pick(&two, person).unwrap();
            let after = pick(&three, person).unwrap();
            if before != after {
                assert_eq!(after, "+13125550102", "nobody moves between the old ones");
                moved += 1;
            }
        }
        assert!((900..1_100).contains(&moved), "a third moves: {moved}");
        let first = people.iter().filter(|person| pick(&two, person).unwrap() == &two[0]).count();
        assert!((1_400..1_600).contains(&first), "half each: {first}");
    }
}
