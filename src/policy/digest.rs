//! Which messages become one. All of them may go out at this moment, each by its own decision; whether they go
//! together is asked here.
//!
//! A message (the carrier) takes others (its riders) along where the reader would get one after the other: of one
//! template, over one way, in one language. Several patients behind one address are told together only where nobody
//! learns a name that is not theirs to know.

use crate::domain::ids::{CampaignId, PatientId, SiteId, TemplateName};
use crate::domain::outbound::Route;
use crate::domain::patient::Patient;
use crate::domain::phi::Phi;
use crate::domain::status::MessageStatus;
use crate::domain::words::{Channel, Priority, Purpose, words};

words! {
    /// Why a message goes by itself.
    Apart {
        /// Its template is not made for it.
        Template = "template",
        /// What is urgent waits for no company and is acknowledged by itself.
        Urgent = "urgent",
        /// It stays with one contact, or with the patient alone.
        Confidential = "confidential",
        /// It is a copy for a proxy beside the patient.
        Copy = "copy",
        /// It only points to the portal: what rode on it would be told in full.
        Pointer = "pointer",
        /// Its plan takes the next way after a while: what rode on it would have no plan.
        Plan = "plan",
        /// A provider has taken it, or may have, and that is told: it has come further than what rides. Or it has ended.
        Taken = "taken",
        /// Another channel or address, or another provider's.
        Way = "way",
        /// A provider that recognises repeats must be given the same text again.
        Repeats = "repeats",
        /// It comes from another place, or belongs to another campaign.
        Place = "place",
        /// It is written in another language.
        Language = "language",
        /// Somebody else reads it.
        Reader = "reader",
        /// Each of them needs a link to their own page.
        Page = "page",
    }
}

words! {
    /// Who may be named in a text that tells several things.
    Naming {
        /// All of it is about one patient, or its one reader is a proxy of all of them.
        Each = "each",
        /// Several patients share the address: nobody is named.
        Nobody = "nobody",
    }
}

/// What is asked of a message before anything else is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Traveller<'a> {
    /// The template may be combined.
    pub digest: bool,
    /// The template goes to contacts of the patient's own alone.
    pub confidential: bool,
    pub priority: Priority,
    pub purpose: Purpose,
    pub patient: &'a Patient,
    /// Its plan takes the next way after a while.
    pub followed_up: bool,
    pub is_copy: bool,
    /// Its text only points to the portal.
    pub pointer: bool,
    /// The provider recognises repeats.
    pub dedupes: bool,
    pub status: MessageStatus,
}

/// Whether a message may carry others, or ride with one.
///
/// # Errors
/// Why it goes by itself.
pub fn may_travel(of: &Traveller<'_>) -> Result<(), Apart> {
    let rank = of.status.rank();
    let is_ours = rank.is_some() && rank < MessageStatus::Unknown.rank();
    let stops = [
        (!of.digest, Apart::Template),
        (of.priority == Priority::Urgent || of.purpose == Purpose::Emergency, Apart::Urgent),
        (of.confidential || of.patient.contacts.iter().any(|c| c.only), Apart::Confidential),
        (of.is_copy, Apart::Copy),
        (of.pointer, Apart::Pointer),
        (of.followed_up, Apart::Plan),
        (of.dedupes, Apart::Repeats),
        (!is_ours, Apart::Taken),
    ];
    stops.iter().find(|(stops, _)| *stops).map_or(Ok(()), |(_, apart)| Err(*apart))
}

/// Who reads a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads<'a> {
    Patient,
    /// By [`crate::domain::patient::Proxy::key`].
    Proxy(&'a Phi),
}

/// A message that may go out now, as another one sees it.
#[derive(Clone, Copy, Debug)]
pub struct Seat<'a> {
    pub template: &'a TemplateName,
    pub purpose: Purpose,
    pub route: &'a Route,
    pub site: Option<&'a SiteId>,
    pub campaign: Option<&'a CampaignId>,
    /// As the reader's record has it.
    pub language: Option<&'a str>,
    pub patient: &'a PatientId,
    pub reads: Reads<'a>,
    pub test: bool,
}

/// Whether `other` goes with `carrier`, and who may then be named.
///
/// # Errors
/// Why it goes by itself.
pub fn together(carrier: &Seat<'_>, other: &Seat<'_>) -> Result<Naming, Apart> {
    if carrier.template != other.template || carrier.purpose != other.purpose {
        return Err(Apart::Template);
    }
    if carrier.route != other.route || carrier.test != other.test {
        return Err(Apart::Way);
    }
    if carrier.site != other.site || carrier.campaign != other.campaign {
        return Err(Apart::Place);
    }
    if carrier.language != other.language {
        return Err(Apart::Language);
    }
    match (carrier.patient == other.patient, carrier.reads == other.reads, carrier.reads) {
        (_, false, _) => Err(Apart::Reader),
        (true, true, _) | (false, true, Reads::Proxy(_)) => Ok(Naming::Each),
        // A mail has its reader's page in its headers (RFC 8058); a text or a call is ended for everybody there.
        (false, true, Reads::Patient) if carrier.route.channel == Channel::Email => Err(Apart::Page),
        (false, true, Reads::Patient) => Ok(Naming::Nobody),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::patient::Contact;

    fn contact(only: bool) -> Contact {
        Contact { only, ..Contact::bare(Channel::Sms, "+13125550142") }
    }

    #[test]
    fn what_goes_by_itself_whatever_else_there_is() {
        use MessageStatus::{Accepted, Held, Scheduled, Sending};

        let id = PatientId::parse("P1").unwrap();
        let open = Patient { contacts: vec![contact(false)], ..Patient::bare(id.clone()) };
        let kept = Patient { contacts: vec![contact(true)], ..Patient::bare(id) };
        let usual = Traveller {
            digest: true,
            confidential: false,
            priority: Priority::Normal,
            purpose: Purpose::Appointment,
            patient: &open,
            followed_up: false,
            is_copy: false,
            pointer: false,
            dedupes: false,
            status: Accepted,
        };
        let table: &[(&str, Traveller<'_>, Result<(), Apart>)] = &[
            ("a reminder", usual, Ok(())),
            ("a bulk invitation", Traveller { priority: Priority::Bulk, ..usual }, Ok(())),
            (
                "a template that says nothing of digests",
                Traveller { digest: false, ..usual },
                Err(Apart::Template),
            ),
            ("an urgent message", Traveller { priority: Priority::Urgent, ..usual }, Err(Apart::Urgent)),
            ("an emergency", Traveller { purpose: Purpose::Emergency, ..usual }, Err(Apart::Urgent)),
            ("a confidential template", Traveller { confidential: true, ..usual }, Err(Apart::Confidential)),
            (
                "somebody with a contact that nothing may leave",
                Traveller { patient: &kept, ..usual },
                Err(Apart::Confidential),
            ),
            ("a copy for a proxy", Traveller { is_copy: true, ..usual }, Err(Apart::Copy)),
            ("a pointer to the portal", Traveller { pointer: true, ..usual }, Err(Apart::Pointer)),
            (
                "a text that a mail follows after a while",
                Traveller { followed_up: true, ..usual },
                Err(Apart::Plan),
            ),
            ("a provider that recognises repeats", Traveller { dedupes: true, ..usual }, Err(Apart::Repeats)),
        ];
        for (what, of, expected) in table {
            assert_eq!(may_travel(of), *expected, "{what}");
        }
        for &status in MessageStatus::ALL {
            let ours = matches!(status, Accepted | Scheduled | Held | Sending);
            let expected = if ours { Ok(()) } else { Err(Apart::Taken) };
            assert_eq!(may_travel(&Traveller { status, ..usual }), expected, "{status}");
        }
    }

    #[test]
    fn who_is_told_together_and_who_is_named() {
        let name = |text: &str| TemplateName::parse(text).unwrap();
        let (reminder, invitation) = (name("appointment-reminder"), name("vaccine-invitation"));
        let (ana, ben) = (PatientId::parse("ana").unwrap(), PatientId::parse("ben").unwrap());
        let (north, south) = (SiteId::parse("north").unwrap(), SiteId::parse("south").unwrap());
        let autumn = CampaignId::parse("autumn").unwrap();
        let (rosa, luis) = (Phi::new("patient:rosa"), Phi::new("patient:luis"));
        let route = |channel, address: &str| Route { channel, address: Phi::new(address), extension: None };
        let phone = route(Channel::Sms, "+13125550142");
        let (other_phone, call) =
            (route(Channel::Sms, "+13125550143"), route(Channel::Voice, "+13125550142"));
        let mail = route(Channel::Email, "home@example.org");
        let usual = Seat {
            template: &reminder,
            purpose: Purpose::Appointment,
            route: &phone,
            site: Some(&north),
            campaign: None,
            language: Some("en"),
            patient: &ana,
            reads: Reads::Patient,
            test: false,
        };
        let bens = Seat { patient: &ben, ..usual };
        let by_rosa = Seat { reads: Reads::Proxy(&rosa), ..usual };
        let (by_mail, bens_by_mail) = (Seat { route: &mail, ..usual }, Seat { route: &mail, ..bens });
        let table: &[(&str, Seat<'_>, Seat<'_>, Result<Naming, Apart>)] = &[
            ("two visits of one patient", usual, usual, Ok(Naming::Each)),
            (
                "two children, both of whose mother reads",
                by_rosa,
                Seat { patient: &ben, ..by_rosa },
                Ok(Naming::Each),
            ),
            ("two patients who share a telephone", usual, bens, Ok(Naming::Nobody)),
            ("two patients who share a mailbox", by_mail, bens_by_mail, Err(Apart::Page)),
            ("two mails to one patient", by_mail, by_mail, Ok(Naming::Each)),
            ("a mother's own visit, and her child's", bens, by_rosa, Err(Apart::Reader)),
            (
                "one child, whom two guardians read for",
                by_rosa,
                Seat { reads: Reads::Proxy(&luis), ..usual },
                Err(Apart::Reader),
            ),
            (
                "a reminder and an invitation",
                usual,
                Seat { template: &invitation, ..usual },
                Err(Apart::Template),
            ),
            ("another purpose", usual, Seat { purpose: Purpose::Care, ..usual }, Err(Apart::Template)),
            (
                "another number of the same patient",
                usual,
                Seat { route: &other_phone, ..usual },
                Err(Apart::Way),
            ),
            ("a text and a call", usual, Seat { route: &call, ..usual }, Err(Apart::Way)),
            ("a test, and a real one", usual, Seat { test: true, ..usual }, Err(Apart::Way)),
            ("visits at two sites", usual, Seat { site: Some(&south), ..usual }, Err(Apart::Place)),
            (
                "one of them of a campaign",
                usual,
                Seat { campaign: Some(&autumn), ..usual },
                Err(Apart::Place),
            ),
            (
                "two languages in one household",
                usual,
                Seat { language: Some("es"), ..bens },
                Err(Apart::Language),
            ),
        ];
        for (what, carrier, other, expected) in table {
            assert_eq!(together(carrier, other), *expected, "{what}");
            assert_eq!(together(other, carrier), *expected, "{what}, the other way round");
        }
    }
}
