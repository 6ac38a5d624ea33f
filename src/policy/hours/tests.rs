use proptest::prelude::*;

use super::*;
use crate::domain::hours::{Area, Holiday, HoursRule, WeekHours};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn quiet(start: &str, end: &str) -> QuietHours {
    QuietHours { start: start.parse().unwrap(), end: end.parse().unwrap() }
}

fn rule(id: &str, areas: &[&str], purposes: &[Purpose], open: &str) -> HoursRule {
    HoursRule {
        id: id.to_owned(),
        areas: areas.iter().map(|area| Area::parse(area).unwrap()).collect(),
        purposes: purposes.to_vec(),
        channels: Vec::new(),
        open: WeekHours::parse(open).unwrap(),
        source: None,
    }
}

/// Everybody from 8 to 21, Texas later, no marketing in Alabama on Sundays and holidays, no mail of marketing at
/// weekends.
fn table() -> HoursTable {
    let mail = HoursRule {
        channels: vec![Channel::Email],
        ..rule("mail", &[], &[Purpose::Marketing], "always, sat-sun closed")
    };
    HoursTable {
        rules: vec![
            rule("everywhere", &[], &[], "08:00-21:00"),
            rule("us-tx", &["US-TX"], &[], "mon-sat 09:00-21:00, sun 12:00-21:00"),
            rule("us-al", &["US-AL"], &[Purpose::Marketing], "always, sun closed, holidays closed"),
            mail,
        ],
        holidays: vec![Holiday::parse("4th thu nov").unwrap(), Holiday::parse("12-25").unwrap()],
        disturbing: vec![Channel::Sms, Channel::Voice],
        spread: Duration::from_secs(600),
    }
}

fn place(zones: &[&str], area: &str) -> Place {
    Place {
        zones: zones.iter().map(|name| zone(name)).collect(),
        from: vec![ZoneSource::Stated],
        areas: Area::parse(area).into_iter().collect(),
    }
}

/// Asks about an appointment by SMS for somebody in Illinois; the answer in words.
fn ask(zones: &[&str], area: &str, now: &str, change: impl FnOnce(&mut Question<'_>)) -> String {
    let (table, place) = (table(), place(zones, area));
    let mut question = Question {
        table: &table,
        purpose: Purpose::Appointment,
        channel: Channel::Sms,
        place: &place,
        site_quiet: None,
        site_holidays: &[],
        own_quiet: None,
        at: at(now),
    };
    change(&mut question);
    let limit = |by: &Limit| format!("{} in {}", by.rule, by.zone);
    let when = |at: Option<Timestamp>| at.map_or("ever".to_owned(), |at| at.to_string());
    match hours(&question) {
        Answer::Open { closes, by } => {
            format!("open until {}: {}", when(closes), by.as_ref().map(limit).unwrap_or_default())
        }
        Answer::Closed { opens, by } => {
            let until = opens.map_or("ever".to_owned(), |window| window.opens.to_string());
            format!("closed until {until}: {}", limit(&by))
        }
    }
}

#[test]
fn the_table_a_nurse_would_read() {
    const CHICAGO: &[&str] = &["America/Chicago"];
    let plain = |zones, area, now| ask(zones, area, now, |_| {});
    // 2026-12-01 is a Tuesday; Chicago is six hours behind UTC in winter.
    for (why, answer, expected) in [
        (
            "nine in the morning",
            plain(CHICAGO, "US-IL", "2026-12-01T15:00:00Z"),
            "open until 2026-12-02T03:00:00Z: everywhere in America/Chicago",
        ),
        (
            "one second to nine in the evening",
            plain(CHICAGO, "US-IL", "2026-12-02T02:59:59Z"),
            "open until 2026-12-02T03:00:00Z: everywhere in America/Chicago",
        ),
        (
            "nine in the evening",
            plain(CHICAGO, "US-IL", "2026-12-02T03:00:00Z"),
            "closed until 2026-12-02T14:00:00Z: everywhere in America/Chicago",
        ),
        (
            "half past eight in Texas: an hour later than elsewhere",
            plain(CHICAGO, "US-TX", "2026-12-01T14:30:00Z"),
            "closed until 2026-12-01T15:00:00Z: us-tx in America/Chicago",
        ),
        (
            "Sunday morning in Texas",
            plain(CHICAGO, "US-TX", "2026-12-06T15:30:00Z"),
            "closed until 2026-12-06T18:00:00Z: us-tx in America/Chicago",
        ),
        (
            "Texas has two zones, and both must be open: El Paso is still asleep",
            plain(&["America/Chicago", "America/Denver"], "US-TX", "2026-12-01T15:30:00Z"),
            "closed until 2026-12-01T16:00:00Z: us-tx in America/Denver",
        ),
        (
            "and Dallas goes to bed first",
            plain(&["America/Denver", "America/Chicago"], "US-TX", "2026-12-01T20:00:00Z"),
            "open until 2026-12-02T03:00:00Z: everywhere in America/Chicago",
        ),
        (
            "a site in Honolulu and a number from New York: what is open for both",
            plain(&["America/New_York", "Pacific/Honolulu"], "US", "2026-12-01T15:00:00Z"),
            "closed until 2026-12-01T18:00:00Z: everywhere in Pacific/Honolulu",
        ),
        (
            "an emergency at night",
            ask(CHICAGO, "US-IL", "2026-12-01T08:00:00Z", |q| {
                q.purpose = Purpose::Emergency;
                q.own_quiet = Some(quiet("20:00", "09:00"));
            }),
            "open until ever: ",
        ),
        (
            "an email at night disturbs nobody",
            ask(CHICAGO, "US-IL", "2026-12-01T08:00:00Z", |q| {
                q.channel = Channel::Email;
                q.own_quiet = Some(quiet("20:00", "09:00"));
            }),
            "open until ever: ",
        ),
        (
            "but a rule may name email",
            ask(CHICAGO, "US-IL", "2026-12-05T18:00:00Z", |q| {
                (q.channel, q.purpose) = (Channel::Email, Purpose::Marketing);
            }),
            "closed until 2026-12-07T06:00:00Z: mail in America/Chicago",
        ),
        (
            "she sleeps until ten",
            ask(CHICAGO, "US-IL", "2026-12-01T15:00:00Z", |q| q.own_quiet = Some(quiet("20:00", "10:00"))),
            "closed until 2026-12-01T16:00:00Z: patient in America/Chicago",
        ),
        (
            "her hours cannot widen the law's",
            ask(CHICAGO, "US-IL", "2026-12-01T12:00:00Z", |q| q.own_quiet = Some(quiet("23:00", "05:00"))),
            "closed until 2026-12-01T14:00:00Z: everywhere in America/Chicago",
        ),
        (
            "the site's siesta",
            ask(CHICAGO, "US-IL", "2026-12-01T19:00:00Z", |q| q.site_quiet = Some(quiet("12:30", "14:00"))),
            "closed until 2026-12-01T20:00:00Z: site in America/Chicago",
        ),
        (
            "Thanksgiving and no marketing in Alabama; care may go",
            ask(CHICAGO, "US-AL", "2026-11-26T18:00:00Z", |q| q.purpose = Purpose::Marketing),
            "closed until 2026-11-27T14:00:00Z: everywhere in America/Chicago",
        ),
        (
            "care on Thanksgiving",
            plain(CHICAGO, "US-AL", "2026-11-26T18:00:00Z"),
            "open until 2026-11-27T03:00:00Z: everywhere in America/Chicago",
        ),
        (
            "Saturday evening before a Sunday and the site's own holiday",
            ask(CHICAGO, "US-AL", "2026-12-06T03:00:00Z", |q| {
                q.purpose = Purpose::Marketing;
                q.site_holidays = const { &[Date::constant(2026, 12, 7)] };
            }),
            "closed until 2026-12-08T14:00:00Z: everywhere in America/Chicago",
        ),
        (
            "three zones that are never awake together",
            ask(
                &["Pacific/Auckland", "America/New_York", "Europe/Berlin"],
                "US",
                "2026-12-01T15:00:00Z",
                |q| q.own_quiet = Some(quiet("18:00", "10:00")),
            ),
            "closed until ever: everywhere in Pacific/Auckland",
        ),
    ] {
        assert_eq!(answer, expected, "{why}");
    }
}

#[test]
fn the_next_allowed_instant_is_right_to_the_second() {
    for (why, name, now, start, end, expected) in [
        (
            "open now",
            "America/Chicago",
            "2026-12-01T18:00:00.25Z",
            "21:00",
            "08:00",
            "2026-12-01T18:00:00.25Z",
        ),
        (
            "over midnight",
            "America/Chicago",
            "2026-12-02T05:00:00Z",
            "21:00",
            "08:00",
            "2026-12-02T14:00:00Z",
        ),
        ("within a day", "America/Chicago", "2026-12-01T19:00:00Z", "12:00", "14:00", "2026-12-01T20:00:00Z"),
        ("never quiet", "America/Chicago", "2026-12-01T08:00:00Z", "08:00", "08:00", "2026-12-01T08:00:00Z"),
        ("the end is not quiet", "UTC", "2026-12-01T08:00:00Z", "21:00", "08:00", "2026-12-01T08:00:00Z"),
        ("the start is", "UTC", "2026-12-01T21:00:00Z", "21:00", "08:00:01", "2026-12-02T08:00:01Z"),
        // 02:00 becomes 03:00 at 08:00Z.
        (
            "the end lies in the gap",
            "America/Chicago",
            "2026-03-08T06:00:00Z",
            "21:00",
            "02:30",
            "2026-03-08T08:00:00Z",
        ),
        (
            "all of it lies in the gap",
            "America/Chicago",
            "2026-03-08T07:59:59Z",
            "02:10",
            "02:50",
            "2026-03-08T07:59:59Z",
        ),
        (
            "the night is an hour shorter",
            "America/Chicago",
            "2026-03-08T04:00:00Z",
            "21:00",
            "08:00",
            "2026-03-08T13:00:00Z",
        ),
        // 02:00 becomes 01:00 at 07:00Z.
        (
            "an opening between two passes",
            "America/Chicago",
            "2026-11-01T06:15:00Z",
            "01:10",
            "01:40",
            "2026-11-01T06:40:00Z",
        ),
        (
            "the second pass is quiet again",
            "America/Chicago",
            "2026-11-01T07:15:00Z",
            "01:10",
            "01:40",
            "2026-11-01T07:40:00Z",
        ),
        (
            "until the end has passed twice",
            "America/Chicago",
            "2026-11-01T05:00:00Z",
            "21:00",
            "02:00",
            "2026-11-01T08:00:00Z",
        ),
        (
            "the clock goes back out of the quiet",
            "America/Chicago",
            "2026-11-01T06:45:00Z",
            "01:30",
            "03:00",
            "2026-11-01T07:00:00Z",
        ),
        (
            "and into it again",
            "America/Chicago",
            "2026-11-01T07:45:00Z",
            "01:30",
            "03:00",
            "2026-11-01T09:00:00Z",
        ),
        (
            "half an hour of daylight saving",
            "Australia/Lord_Howe",
            "2026-04-04T14:50:00Z",
            "01:20",
            "02:00",
            "2026-04-04T15:30:00Z",
        ),
        (
            "three quarters of an hour",
            "Asia/Kathmandu",
            "2026-12-01T20:00:00Z",
            "21:00",
            "08:00",
            "2026-12-02T02:15:00Z",
        ),
        (
            "a day that was never there",
            "Pacific/Apia",
            "2011-12-30T07:00:00Z",
            "21:00",
            "08:00",
            "2011-12-30T18:00:00Z",
        ),
        (
            "midnight that was never there",
            "America/Havana",
            "2026-03-08T04:30:00Z",
            "23:00",
            "00:30",
            "2026-03-08T05:00:00Z",
        ),
    ] {
        let next = next_allowed(&zone(name), at(now), start.parse().unwrap(), end.parse().unwrap());
        assert_eq!(next, at(expected), "{why}");
    }
}

#[test]
fn a_closing_is_looked_for_within_five_weeks() {
    let table = HoursTable {
        rules: vec![rule("day-off", &[], &[], "always, holidays closed")],
        holidays: vec![Holiday::parse("2027-01-05").unwrap()],
        ..table()
    };
    let place = place(&["UTC"], "US");
    for (now, expected) in
        [("2026-12-01T00:00:00Z", None), ("2026-12-01T00:00:01Z", Some(at("2027-01-05T00:00:00Z")))]
    {
        let question = Question {
            table: &table,
            purpose: Purpose::Care,
            channel: Channel::Sms,
            place: &place,
            site_quiet: None,
            site_holidays: &[],
            own_quiet: None,
            at: at(now),
        };
        let Answer::Open { closes, .. } = hours(&question) else { panic!("{now}") };
        assert_eq!(closes, expected, "{now}");
    }
}

#[test]
fn a_release_is_spread_within_the_window_and_before_expiry() {
    let window = Window { opens: at("2026-12-01T14:00:00Z"), closes: Some(at("2026-12-02T03:00:00Z")) };
    let (span, late) = (Duration::from_secs(600), at("2026-12-03T00:00:00Z"));
    assert_eq!(window.release(span, late, 0.0), window.opens);
    assert_eq!(window.release(span, late, 0.5), at("2026-12-01T14:05:00Z"));
    assert!(window.release(span, late, 1.0) < at("2026-12-01T14:10:00Z"));
    assert_eq!(window.release(span, at("2026-12-01T14:01:00Z"), 0.5), at("2026-12-01T14:00:30Z"));
    assert_eq!(window.release(span, at("2026-12-01T13:00:00Z"), 0.5), window.opens, "it expires instead");
    let short = Window { closes: Some(at("2026-12-01T14:02:00Z")), ..window };
    assert_eq!(short.release(span, late, 0.5), at("2026-12-01T14:01:00Z"));
    assert_eq!(window.release(Duration::ZERO, late, 0.9), window.opens);
}

#[test]
fn the_note_holds_words_and_ids() {
    let (table, place) = (table(), place(&["America/Chicago"], "US-TX"));
    let question = Question {
        table: &table,
        purpose: Purpose::Care,
        channel: Channel::Voice,
        place: &place,
        site_quiet: None,
        site_holidays: &[],
        own_quiet: None,
        at: at("2026-12-01T14:30:00Z"),
    };
    let note = serde_json::to_value(hours(&question).note(&place)).unwrap();
    let expected = serde_json::json!({
        "zones": ["America/Chicago"], "from": ["stated"], "until": "2026-12-01T15:00:00Z",
        "by": { "rule": "us-tx", "zone": "America/Chicago" },
    });
    assert_eq!(note, expected);
}

/// Zones whose clocks do odd things, with years in which they do them.
const ODD: &[&str] = &[
    "America/Chicago",
    "America/St_Johns",
    "America/Havana",
    "America/Santiago",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Gaza",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kiritimati",
];

prop_compose! {
    /// Instants of 2010 to 2037, half of them within a day of a change of that zone's clock.
    fn moment()(name in prop::sample::select(ODD), second in 1_262_304_000_i64..2_145_916_800, nanos in 0..1_000_000_000_i32, near in any::<bool>(), off in -86_400_i64..86_400) -> (TimeZone, Timestamp) {
        let zone = zone(name);
        let any = Timestamp::new(second, nanos).unwrap();
        let change = zone.following(any).next().filter(|_| near).map(|change| change.timestamp());
        let at = change.map_or(any, |change| change + SignedDuration::from_secs(off));
        (zone, at)
    }
}

/// Times of the day, often on a full hour.
fn time() -> impl Strategy<Value = Time> {
    prop_oneof![(0..24_i32).prop_map(|h| h * 3_600), 0..86_400_i32]
        .prop_map(|s| Time::midnight() + SignedDuration::from_secs(i64::from(s)))
}

/// The wall clock as anybody reads it, without a walk.
fn is_quiet(zone: &TimeZone, at: Timestamp, QuietHours { start, end }: QuietHours) -> bool {
    let time = zone.to_datetime(at).time();
    if start <= end { start <= time && time < end } else { time >= start || time < end }
}

/// Whether `closed` holds from `from` up to `to` and no longer, looked at every half minute and on both sides of
/// every change of the clock.
fn is_first_open(
    zone: &TimeZone,
    from: Timestamp,
    to: Timestamp,
    closed: impl Fn(Timestamp) -> bool,
) -> bool {
    let step = SignedDuration::from_secs(30);
    let mut looks: Vec<Timestamp> =
        std::iter::successors(Some(from), |at| Some(*at + step)).take_while(|at| *at < to).collect();
    for change in zone.following(from).take_while(|change| change.timestamp() < to) {
        looks.extend([change.timestamp() - SignedDuration::from_nanos(1), change.timestamp()]);
    }
    looks.extend((from < to).then(|| to - SignedDuration::from_nanos(1)));
    !closed(to) && looks.iter().filter(|at| **at >= from).all(|at| closed(*at))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_answer_is_the_first_instant_that_is_not_quiet((zone, at) in moment(), start in time(), end in time()) {
        let next = next_allowed(&zone, at, start, end);
        prop_assert!(next >= at);
        let quiet = QuietHours { start, end };
        prop_assert!(is_first_open(&zone, at, next, |at| is_quiet(&zone, at, quiet)), "{at} {next}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_hold_never_ends_inside_quiet_hours_nor_late(
        (first, at) in moment(),
        second in prop::sample::select(ODD),
        (start, end) in (time(), time()),
        marketing in any::<bool>(),
        jitter in 0.0..1.0_f64,
    ) {
        let table = table();
        let purpose = if marketing { Purpose::Marketing } else { Purpose::Care };
        let place = Place { zones: vec![first, zone(second)], from: Vec::new(), areas: vec![Area::parse("US-AL").unwrap()] };
        let own = QuietHours { start, end };
        // The rules again, by hand.
        let closed = |at: Timestamp| place.zones.iter().any(|zone| {
            let local = zone.to_datetime(at);
            let holiday = (local.month(), local.day()) == (12, 25)
                || (local.month() == 11 && local.weekday() == jiff::civil::Weekday::Thursday && (22..=28).contains(&local.day()));
            let sunday = local.weekday() == jiff::civil::Weekday::Sunday;
            !(8..21).contains(&local.hour()) || is_quiet(zone, at, own) || (marketing && (holiday || sunday))
        });
        let question = Question {
            table: &table, purpose, channel: Channel::Sms, place: &place, site_quiet: None, site_holidays: &[], own_quiet: Some(own), at,
        };
        let (opens, closes) = match hours(&question) {
            Answer::Open { closes, .. } => (at, closes),
            Answer::Closed { opens: Some(window), .. } => {
                prop_assert!(window.opens > at);
                let late = window.opens + SignedDuration::from_hours(12);
                let release = window.release(table.spread, late, jitter);
                prop_assert!(release >= window.opens && !closed(release));
                (window.opens, window.closes)
            }
            Answer::Closed { opens: None, .. } => {
                let step = SignedDuration::from_mins(7);
                let mut looks = std::iter::successors(Some(at), |at| Some(*at + step)).take(2_000);
                prop_assert!(looks.all(closed));
                return Ok(());
            }
        };
        for zone in &place.zones {
            prop_assert!(is_first_open(zone, at, opens, closed));
        }
        if let Some(closes) = closes {
            prop_assert!(closed(closes));
            for zone in &place.zones {
                prop_assert!(is_first_open(zone, opens, closes, |at| !closed(at)));
            }
        }
    }
}
