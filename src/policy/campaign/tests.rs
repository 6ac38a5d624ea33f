use jiff::civil::date;

use super::*;
use crate::domain::ids::{PatientId, SiteId};
use crate::domain::phi::Phi;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn somebody() -> Patient {
    Patient::bare(PatientId::parse("P1").unwrap())
}

fn hourly(count: u32) -> Pace {
    Pace { count, per: PaceUnit::Hour, hours: None }
}

#[test]
fn a_campaign_goes_its_way_and_no_other() {
    use CampaignState as S;
    for (state, command, needs, approved, leads) in [
        (S::Draft, Command::Start, false, false, Some(S::Running)),
        (S::Draft, Command::Start, true, false, Some(S::AwaitingApproval)),
        (S::AwaitingApproval, Command::Start, true, false, Some(S::AwaitingApproval)),
        (S::AwaitingApproval, Command::Approve, true, false, Some(S::Approved)),
        (S::Approved, Command::Start, true, true, Some(S::Running)),
        (S::Approved, Command::Start, true, false, Some(S::AwaitingApproval)),
        (S::Approved, Command::Change, true, true, Some(S::Draft)),
        (S::Running, Command::Change, true, true, None),
        (S::Running, Command::Start, false, false, None),
        (S::Running, Command::Pause, false, false, Some(S::Paused)),
        (S::CanaryHold, Command::Approve, false, false, Some(S::Running)),
        (S::CanaryHold, Command::Resume, false, false, None),
        (S::Paused, Command::Resume, false, false, Some(S::Running)),
        (S::Paused, Command::Resume, true, false, None),
        (S::Paused, Command::Approve, true, false, Some(S::Paused)),
        (S::Paused, Command::Pause, false, false, Some(S::Paused)),
        (S::Paused, Command::Cancel, false, false, Some(S::Cancelled)),
        (S::Draft, Command::Cancel, false, false, Some(S::Cancelled)),
        (S::Done, Command::Cancel, false, false, Some(S::Cancelled)),
        (S::Cancelled, Command::Resume, false, false, None),
    ] {
        assert_eq!(next(state, command, needs, approved).ok(), leads, "{command} in {state}");
    }
}

#[test]
fn an_approval_is_for_one_thing_and_one_day() {
    let hash = approval_hash("{}", 2, "a", "b");
    let now = at("2026-11-28T12:00:00Z");
    let approval =
        Approval { by: "eve".to_owned(), at: at("2026-11-27T12:00:01Z"), hash: hash.clone(), texts: None };
    let day = SignedDuration::from_hours(24);
    assert!(stands(Some(&approval), &hash, day, false, now));
    assert!(!stands(Some(&approval), &hash, day, false, at("2026-11-28T12:00:01Z")), "a day is over");
    assert!(stands(Some(&approval), &hash, day, true, at("2026-12-28T12:00:01Z")), "it was used in time");
    assert!(!stands(None, &hash, day, false, now));
    for (plan, size, audience, bundle) in
        [("{ }", 2, "a", "b"), ("{}", 3, "a", "b"), ("{}", 2, "", "ab"), ("{}", 2, "a", "c")]
    {
        assert!(!stands(Some(&approval), &approval_hash(plan, size, audience, bundle), day, true, now));
    }
}

/// In the week in which the clocks go back, everybody has their own ten o'clock: also where they do not go back.
#[test]
fn everybody_in_the_states_is_written_to_at_ten_where_they_live() {
    let zones = [
        "America/New_York",
        "America/Detroit",
        "America/Kentucky/Louisville",
        "America/Indiana/Indianapolis",
        "America/Chicago",
        "America/Menominee",
        "America/North_Dakota/Center",
        "America/Denver",
        "America/Boise",
        "America/Phoenix",
        "America/Los_Angeles",
        "America/Anchorage",
        "America/Juneau",
        "America/Metlakatla",
        "America/Adak",
        "Pacific/Honolulu",
        "America/Puerto_Rico",
        "Pacific/Guam",
    ];
    let org = zone("America/Chicago");
    let home = Home { site: None, organisation: &org, country: "US" };
    for day in 28..=31 {
        check(date(2026, 10, day), &zones, &home);
    }
    for day in 1..=7 {
        check(date(2026, 11, day), &zones, &home);
        check(date(2027, 3, day + 8), &zones, &home);
    }
}

fn check(day: Date, zones: &[&str], home: &Home<'_>) {
    let start = Some(When::Local(day.at(10, 0, 0, 0)));
    for name in zones {
        let patient = Patient { timezone: Some((*name).to_owned()), ..somebody() };
        let local = ready_at(start, Some(&patient), home).to_zoned(zone(name));
        assert_eq!(local.datetime(), day.at(10, 0, 0, 0), "{name} on {day}");
    }
    // Who says nothing of their zone has one by their address.
    for (state, postcode, name) in [
        ("AZ", "85001", "America/Phoenix"),
        ("HI", "96801", "Pacific/Honolulu"),
        ("NY", "10001", "America/New_York"),
    ] {
        let address = PostalAddress {
            postal_code: Some(Phi::new(postcode)),
            state: Some(state.to_owned()),
            country: Some("US".to_owned()),
        };
        let patient = Patient { address: Some(address), ..somebody() };
        let ready = ready_at(start, Some(&patient), home);
        let local = ready.to_zoned(zone(name)).datetime();
        assert!(local >= day.at(10, 0, 0, 0) && local < day.at(11, 1, 0, 0), "{state}: {local}");
    }
}

#[test]
fn turns_keep_the_pace_and_the_hours_of_the_line() {
    let chicago = zone("America/Chicago");
    let hours = WeekHours::parse("mon-fri 09:00-17:00, sat-sun closed").unwrap();
    let closed = [date(2026, 11, 26)];
    let line = Line { hours: Some(&hours), zone: &chicago, holidays: &[], closed_days: &closed };
    // Wednesday before Thanksgiving, a quarter to five: one every ten minutes.
    let from = at("2026-11-25T16:45:00-06:00");
    let (turns, next) = turns(Some(&hourly(6)), &line, from, Timestamp::MAX, 4);
    let local: Vec<String> =
        turns.iter().map(|t| t.to_zoned(chicago.clone()).datetime().to_string()).collect();
    assert_eq!(
        local,
        ["2026-11-25T16:45:00", "2026-11-25T16:55:00", "2026-11-27T09:00:00", "2026-11-27T09:10:00"]
    );
    assert_eq!(next, at("2026-11-27T09:20:00-06:00"));
    let evening = at("2026-11-24T17:00:00-06:00");
    assert_eq!(line.opens(evening), Some(at("2026-11-25T09:00:00-06:00")), "at five the line is closed");
}

/// The table's holidays are days like others to hours that say nothing of holidays; days on which the place is closed never
/// are.
#[test]
fn hours_that_name_holidays_keep_to_those_of_the_table_too() {
    let (chicago, thanksgiving) = (zone("America/Chicago"), [Holiday::parse("4th thu nov").unwrap()]);
    let opens = |hours: &str, holidays: &[Holiday], closed_days: &[Date]| {
        let hours = WeekHours::parse(hours).unwrap();
        let line = Line { hours: Some(&hours), zone: &chicago, holidays, closed_days };
        line.opens(at("2026-11-26T10:00:00-06:00")).unwrap().to_zoned(chicago.clone()).datetime().to_string()
    };
    let day = [date(2026, 11, 26)];
    for (hours, holidays, closed, first) in [
        ("09:00-17:00", &thanksgiving[..], &[][..], "2026-11-26T10:00:00"),
        ("09:00-17:00, holidays closed", &thanksgiving, &[], "2026-11-27T09:00:00"),
        ("09:00-17:00, holidays 12:00-15:00", &thanksgiving, &[], "2026-11-26T12:00:00"),
        ("09:00-17:00, holidays closed", &[], &[], "2026-11-26T10:00:00"),
        ("09:00-17:00", &thanksgiving, &day, "2026-11-27T09:00:00"),
        ("09:00-17:00, holidays 12:00-15:00", &[], &day, "2026-11-26T12:00:00"),
    ] {
        assert_eq!(opens(hours, holidays, closed), first, "{hours}");
    }
}

/// Whoever sleeps in their turn waits for another, unless there is none in which they do not.
#[test]
fn whoever_sleeps_is_waited_for_while_there_is_a_turn_by_day() {
    let utc = zone("UTC");
    let hours = WeekHours::parse("09:00-17:00").unwrap();
    let line = Line { hours: Some(&hours), zone: &utc, holidays: &[], closed_days: &[] };
    // The hours of somebody who may be written to between two hours of the clock.
    let open = |from: &str, to: &str| {
        let theirs = WeekHours::parse(&format!("{from}-{to}")).unwrap();
        move |at: Timestamp| {
            let line = Line { hours: Some(&theirs), zone: &TimeZone::UTC, holidays: &[], closed_days: &[] };
            line.opens(at).unwrap()
        }
    };
    for (turn, from, to, wakes_at) in [
        ("2026-11-25T10:00:00Z", "08:00", "21:00", None),
        ("2026-11-25T10:00:00Z", "12:00", "21:00", Some("2026-11-25T12:00:00Z")),
        ("2026-11-25T16:00:00Z", "08:00", "15:00", Some("2026-11-26T08:00:00Z")),
        // Open when nobody answers the phone, and never else.
        ("2026-11-25T10:00:00Z", "18:00", "21:00", None),
    ] {
        let turn = at(turn);
        let theirs = open(from, to);
        assert_eq!(wakes(turn, theirs(turn), &line, theirs), wakes_at.map(at), "{from} to {to}");
    }
    let longest = at("2026-11-29T10:00:00Z");
    let long = longest + SignedDuration::from_secs(1);
    for (opens, wakes_at) in [(longest, Some(longest)), (long, None), (at("2026-12-25T10:00:00Z"), None)] {
        assert_eq!(wakes(at("2026-11-25T10:00:00Z"), opens, &line, |turn| turn), wakes_at, "until {opens}");
    }
}

#[test]
fn no_turn_lies_beyond_the_window_and_none_is_lost() {
    let utc = TimeZone::UTC;
    let line = Line { hours: None, zone: &utc, holidays: &[], closed_days: &[] };
    let pace = Pace { count: 90, per: PaceUnit::Minute, hours: None };
    let start = at("2026-11-28T00:00:00Z");
    let (mut all, mut from, mut now) = (Vec::new(), start, start);
    for _ in 0..30 {
        now = now.checked_add(SignedDuration::from_secs(2)).unwrap();
        let (mut some, next) = turns(Some(&pace), &line, from, now, 1_000);
        all.append(&mut some);
        from = next;
    }
    assert_eq!(all.len(), 91, "one at the start, then 90 a minute");
    assert!(all.windows(2).all(|w| w[1].duration_since(w[0]) == interval(&pace)));
    let never = WeekHours::parse("closed").unwrap();
    let shut = Line { hours: Some(&never), ..line };
    assert_eq!(turns(Some(&pace), &shut, start, Timestamp::MAX, 5), (Vec::new(), Timestamp::MAX));
    assert_eq!(turns(None, &line, start, start, 3), (vec![start; 3], start), "without a pace at once");
}

#[test]
fn waves_and_queries_ask_for_age_tag_and_postcode() {
    let today = date(2026, 11, 28);
    assert_eq!(age(date(1961, 11, 28), today), 65);
    assert_eq!(age(date(1961, 11, 29), today), 64);
    let mut patient = somebody();
    patient.birth_date = Some(date(1950, 1, 1));
    patient.language = Some("es-US".to_owned());
    patient.address =
        Some(PostalAddress { postal_code: Some(Phi::new("60601")), state: None, country: None });
    patient.tags = vec!["risk-1".to_owned()];
    let waves = [
        Wave { min_age: Some(80), ..Wave::default() },
        Wave { tags: vec!["risk-1".to_owned()], postcodes: vec!["606".to_owned()], ..Wave::default() },
    ];
    assert_eq!(wave_of(&waves, Some(&patient), today), 1);
    assert_eq!(wave_of(&waves, Some(&somebody()), today), 2, "of whom nothing is known comes last");
    assert_eq!(wave_of(&waves, None, today), 2);
    let query = |change: &dyn Fn(&mut AudienceQuery)| {
        let mut query = AudienceQuery::default();
        change(&mut query);
        is_meant(&query, &patient, today)
    };
    assert!(query(&|_| {}));
    assert_eq!(wave_of(&[Wave { min_age: Some(76), ..Wave::default() }], Some(&patient), today), 0);
    for (years, as_least, as_most) in [(65, true, false), (76, true, true), (77, false, true)] {
        assert_eq!(query(&|q| q.min_age = Some(years)), as_least, "from {years}");
        assert_eq!(query(&|q| q.max_age = Some(years)), as_most, "up to {years}");
    }
    assert!(query(&|q| q.languages = vec!["es".to_owned()]));
    assert!(!query(&|q| q.languages = vec!["zh".to_owned()]));
    assert!(query(&|q| q.postcodes = vec!["9".to_owned(), "6060".to_owned()]));
    assert!(!query(&|q| q.postcodes = vec!["9".to_owned()]));
    assert!(!query(&|q| q.tags = vec!["risk-2".to_owned()]));
    let site = SiteId::parse("north");
    assert!(!query(&|q| q.site.clone_from(&site)), "theirs is not known");
    let theirs = Patient { site: site.clone(), ..patient.clone() };
    let asked = |name: &str| AudienceQuery { site: SiteId::parse(name), ..AudienceQuery::default() };
    assert!(is_meant(&asked("north"), &theirs, today) && !is_meant(&asked("south"), &theirs, today));
    assert!(!is_meant(&AudienceQuery::default(), &Patient { active: false, ..theirs }, today));
    patient.deceased = true;
    assert!(!is_meant(&AudienceQuery::default(), &patient, today));
}

#[test]
fn a_rate_that_is_too_high_stops_it() {
    let limits = AutoPause::default();
    let health = |tried, failed, opted_out, complained| Health { tried, failed, opted_out, complained };
    for (health, reason) in [
        (health(39, 39, 0, 0), None),
        (health(40, 2, 0, 0), Some(PauseReason::ErrorRate)),
        (health(100, 4, 2, 0), None),
        (health(100, 5, 0, 0), Some(PauseReason::ErrorRate)),
        (health(100, 5, 3, 0), Some(PauseReason::OptOutRate)),
        (health(200, 10, 6, 1), Some(PauseReason::ComplaintRate)),
        (health(1_000, 49, 29, 4), None),
    ] {
        assert_eq!(alarm(&limits, &health), reason, "{health:?}");
    }
    let calm = AutoPause { complaint_percent: 0.0, ..limits };
    assert_eq!(alarm(&calm, &health(100, 0, 0, 0)), None, "nobody has complained");
}

#[test]
fn the_sum_of_an_audience_knows_no_order() {
    let one = member(1, "P1", b"x");
    let two = member(2, "P2", b"");
    assert_eq!(one.wrapping_add(two), two.wrapping_add(one));
    for other in [member(2, "P1", b"x"), member(1, "P2", b"x"), member(1, "P1", b""), member(1, "P1x", b"")] {
        assert_ne!(one, other);
    }
}

#[test]
fn another_person_agrees_to_many_and_to_what_lifts_the_caps() {
    for (size, lifts_cap, expected) in
        [(500, false, false), (501, false, true), (1, true, true), (501, true, true)]
    {
        assert_eq!(needs_approval(size, 500, lifts_cap), expected, "{size} {lifts_cap}");
    }
}
