use proptest::prelude::*;

use super::*;
use crate::domain::consent::merge_patient;
use crate::domain::ids::PatientId;
use crate::domain::patient::Contact;

const OPT_IN: &[Purpose] = &[Purpose::Marketing];
const PHONE: &str = "+13125550142";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn terms(second: i64) -> Terms<'static> {
    Terms { opt_in: OPT_IN, now: at(second), evidence: "preference page" }
}

fn ana() -> Patient {
    Patient {
        updated_at: Some(at(0)),
        contacts: vec![Contact::bare(Channel::Sms, PHONE), Contact::bare(Channel::Email, "ana@example.org")],
        ..Patient::bare(PatientId::parse("P1").unwrap())
    }
}

/// The patient after these wishes, a second apart.
fn after(patient: &Patient, wishes: &[Wish]) -> Patient {
    let granted = |(second, patient): (i64, Patient), wish: &Wish| {
        (second + 1, wish.grant(&patient, &terms(second)).patient)
    };
    wishes.iter().fold((1, patient.clone()), granted).1
}

fn wants(patient: &Patient, purpose: Purpose, channel: Channel) -> bool {
    is_wanted(patient, purpose, channel, &terms(1_000))
}

fn stop(purpose: Option<Purpose>, channel: Option<Channel>) -> Wish {
    Wish::Stop { purpose, channel }
}

#[test]
fn a_stop_reaches_as_far_as_it_says() {
    use Channel::{Email, Sms};
    use Purpose::{Billing, Care};
    let table = [
        ("one purpose, one channel", stop(Some(Care), Some(Sms)), [false, true, true, true]),
        ("one purpose", stop(Some(Care), None), [false, false, true, true]),
        ("one channel", stop(None, Some(Sms)), [false, true, false, true]),
        ("everything", stop(None, None), [false, false, false, false]),
    ];
    for (name, wish, expected) in table {
        let patient = after(&ana(), std::slice::from_ref(&wish));
        let told = [(Care, Sms), (Care, Email), (Billing, Sms), (Billing, Email)]
            .map(|(p, c)| wants(&patient, p, c));
        assert_eq!(told, expected, "{name}");
        let again = wish.grant(&patient, &terms(50));
        assert!(
            again.changes.is_empty() && again.patient == patient,
            "{name}: the same again is nothing new"
        );
        assert_eq!(patient.consents[0].source, ConsentSource::Patient);
        assert_eq!(patient.consents[0].evidence.as_deref(), Some("preference page"));
    }
}

#[test]
fn what_was_stopped_as_a_whole_starts_as_a_whole_and_what_was_stopped_by_name_does_not() {
    use Channel::{Email, Sms};
    let billing = stop(Some(Purpose::Billing), None);
    let texts = [billing.clone(), stop(None, Some(Sms)), Wish::Start { channel: Some(Sms) }];
    let patient = after(&ana(), &texts);
    assert!(wants(&patient, Purpose::Care, Sms) && !wants(&patient, Purpose::Billing, Sms));
    let all = [billing, stop(None, None), Wish::Start { channel: None }];
    let patient = after(&ana(), &all);
    assert!(wants(&patient, Purpose::Care, Email) && !wants(&patient, Purpose::Billing, Email));
    let one = after(&ana(), &[stop(None, None), Wish::Start { channel: Some(Sms) }]);
    assert!(wants(&one, Purpose::Care, Sms) && !wants(&one, Purpose::Care, Email));
    assert!(Wish::Start { channel: None }.grant(&ana(), &terms(1)).changes.is_empty());
}

#[test]
fn starting_again_is_no_agreement_to_advertising() {
    use Channel::Sms;
    let agreed = Wish::Choose(vec![(Purpose::Marketing, vec![Sms])]);
    let yes = after(&ana(), std::slice::from_ref(&agreed));
    assert!(wants(&yes, Purpose::Marketing, Sms) && !wants(&yes, Purpose::Marketing, Channel::Email));
    for start in [None, Some(Sms)] {
        let back = after(&yes, &[stop(None, start), Wish::Start { channel: start }]);
        assert!(wants(&back, Purpose::Care, Sms) && !wants(&back, Purpose::Marketing, Sms));
    }
}

#[test]
fn an_agreement_to_advertising_does_not_move_to_a_new_number() {
    let mut yes = after(&ana(), &[Wish::Choose(vec![(Purpose::Marketing, vec![Channel::Sms])])]);
    yes.contacts = vec![Contact::bare(Channel::Sms, "+13125550199")];
    assert!(!wants(&yes, Purpose::Marketing, Channel::Sms));
    assert!(wants(&yes, Purpose::Care, Channel::Sms));
}

#[test]
fn choices_end_as_they_were_ticked() {
    use Channel::{Email, Sms};
    let choose = |channels: &[Channel]| Wish::Choose(vec![(Purpose::Care, channels.to_vec())]);
    let none = after(&ana(), &[choose(&[])]);
    assert!(none.preferences.iter().any(|p| p.purpose == Purpose::Care && p.channels.is_empty()));
    let later = Patient { contacts: vec![Contact::bare(Channel::Voice, PHONE)], ..none.clone() };
    assert!(!wants(&later, Purpose::Care, Channel::Voice), "nor over a channel that comes later");
    let some = after(&ana(), &[choose(&[]), choose(&[Email])]);
    let ticked: Vec<Channel> =
        Channel::ALL.iter().copied().filter(|c| wants(&some, Purpose::Care, *c)).collect();
    assert_eq!(ticked, [Email]);
    // What somebody had recorded against one number is the patient's to lift.
    let mut against = ana();
    against.consents = after(&ana(), &[stop(Some(Purpose::Care), Some(Sms))]).consents;
    against.consents[0].address = Some(Phi::new(PHONE));
    against.consents[0].at = at(0);
    assert!(!wants(&against, Purpose::Care, Sms));
    assert!(wants(&after(&against, &[choose(&[Sms, Email])]), Purpose::Care, Sms));
}

#[test]
fn the_first_channel_leads_every_order_and_undoes_no_opt_out() {
    let mut patient = ana();
    patient.preferred_channels = vec![Channel::Sms, Channel::Email];
    let stated = |purpose, channels| Preference { purpose, channels, updated_at: Some(at(0)) };
    patient.preferences =
        vec![stated(Purpose::Care, vec![Channel::Sms]), stated(Purpose::Survey, Vec::new())];
    let patient = after(&patient, &[Wish::First(Some(Channel::Email))]);
    assert_eq!(patient.preferred_channels, [Channel::Email, Channel::Sms]);
    assert_eq!(patient.preferences[0].channels, [Channel::Email, Channel::Sms]);
    assert!(patient.preferences[1].channels.is_empty());
}

#[test]
fn a_record_that_was_changed_before_the_patient_spoke_does_not_speak_for_them() {
    let hours = QuietHours { start: jiff::civil::time(21, 0, 0, 0), end: jiff::civil::time(9, 0, 0, 0) };
    let spoken = after(&ana(), &[Wish::Language("es".to_owned()), Wish::QuietHours(Some(hours))]);
    assert_eq!(spoken.updated_at, Some(at(0)), "the sender's own time is the sender's");
    let upsert = |second| Patient {
        updated_at: Some(at(second)),
        language: Some("en".to_owned()),
        quiet_hours: None,
        ..ana()
    };
    let nightly = merge_patient(&spoken, upsert(0)).patient;
    assert_eq!((nightly.language.as_deref(), nightly.quiet_hours), (Some("es"), Some(hours)));
    assert_eq!(nightly.own_words, spoken.own_words);
    let later = merge_patient(&nightly, upsert(60)).patient;
    assert_eq!((later.language.as_deref(), later.quiet_hours), (Some("en"), None));
    assert!(later.own_words.is_empty());
}

#[test]
fn no_import_lifts_what_was_said_on_the_page() {
    let stopped = after(&ana(), &[Wish::Choose(vec![(Purpose::Care, Vec::new())])]);
    let granting = Patient {
        updated_at: Some(at(90)),
        preferences: vec![Preference {
            purpose: Purpose::Care,
            channels: vec![Channel::Sms],
            updated_at: Some(at(90)),
        }],
        consents: vec![Consent {
            purpose: Some(Purpose::Care),
            channel: Some(Channel::Sms),
            address: None,
            granted: true,
            at: at(90),
            source: ConsentSource::Import,
            by: None,
            evidence: Some("list".to_owned()),
            expires_at: None,
            shadow: None,
        }],
        ..ana()
    };
    assert!(!wants(&merge_patient(&stopped, granting).patient, Purpose::Care, Channel::Sms));
}

fn any_wish() -> impl Strategy<Value = Wish> {
    let channel = prop::option::of(prop::sample::select(Channel::ALL));
    let channels = prop::sample::subsequence(Channel::ALL.to_vec(), 0..=4);
    let purpose = prop::sample::select(CHOSEN.to_vec());
    prop_oneof![
        (prop::option::of(purpose.clone()), channel.clone())
            .prop_map(|(purpose, channel)| Wish::Stop { purpose, channel }),
        channel.clone().prop_map(|channel| Wish::Start { channel }),
        (purpose, channels).prop_map(|(purpose, channels)| Wish::Choose(vec![(purpose, channels)])),
        channel.prop_map(Wish::First),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_last_word_holds_whatever_came_before(
        before in prop::collection::vec(any_wish(), 0..8),
        purpose in prop::sample::select(CHOSEN.to_vec()),
        ticked in prop::sample::subsequence(vec![Channel::Sms, Channel::Email], 0..=2),
        scope in (prop::option::of(prop::sample::select(CHOSEN.to_vec())), prop::option::of(prop::sample::select(Channel::ALL))),
    ) {
        let patient = after(&ana(), &before);
        let chosen = Wish::Choose(vec![(purpose, ticked.clone())]).grant(&patient, &terms(100)).patient;
        for channel in Channel::ALL {
            prop_assert_eq!(wants(&chosen, purpose, *channel), ticked.contains(channel), "{}", channel);
        }
        let stopped = stop(scope.0, scope.1).grant(&chosen, &terms(101)).patient;
        for p in CHOSEN.iter().filter(|p| scope.0.is_none_or(|s| s == **p)) {
            for c in Channel::ALL.iter().filter(|c| scope.1.is_none_or(|s| s == **c)) {
                prop_assert!(!wants(&stopped, *p, *c), "{} {}", p, c);
            }
        }
    }
}
