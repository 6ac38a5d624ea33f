//! When nobody reads what patients write: outside the hours of the site that wrote to them.

use jiff::civil::{Time, Weekday};
use jiff::{SignedDuration, Timestamp};

use super::texts::Texts;
use crate::config::site::{OpenRange, SiteSection};

/// Whoever goes on writing is not told again within this time.
const AGAIN: SignedDuration = SignedDuration::from_hours(6);

const WEEK: [Weekday; 7] = [
    Weekday::Monday,
    Weekday::Tuesday,
    Weekday::Wednesday,
    Weekday::Thursday,
    Weekday::Friday,
    Weekday::Saturday,
    Weekday::Sunday,
];

/// Whether whoever writes `now` is to be told the site's hours: it says when it is open and is not, and they were not
/// told a while ago, when they wrote `before`.
pub(super) fn is_closed_notice_due(site: &SiteSection, before: Option<Timestamp>, now: Timestamp) -> bool {
    let is_closed = |at| !site.hours.is_empty() && !is_open(site, at);
    let was_told =
        before.is_some_and(|at| at.checked_add(AGAIN).is_ok_and(|again| again > now) && is_closed(at));
    is_closed(now) && !was_told
}

fn is_open(site: &SiteSection, at: Timestamp) -> bool {
    let here = at.to_zoned(site.timezone.clone());
    let (day, time) = (here.weekday(), here.time());
    let covers =
        |range: &OpenRange| range.start <= time && (time < range.end || range.end == Time::midnight());
    !site.holidays.contains(&here.date()) && site.hours.iter().any(|range| range.day == day && covers(range))
}

/// The hours as people write them: `Mon-Fri 8:00 AM-5:00 PM; Sat 9:00 AM-12:00 PM`.
pub(super) fn hours(open: &[OpenRange], texts: &Texts) -> String {
    let spans = |day: Weekday| -> Vec<String> {
        let of_day = open.iter().filter(|range| range.day == day);
        of_day.map(|range| format!("{}-{}", clock(range.start, texts), clock(range.end, texts))).collect()
    };
    let mut groups: Vec<(usize, usize, Vec<String>)> = Vec::new();
    for (number, day) in WEEK.into_iter().enumerate() {
        let spans = spans(day);
        match groups.last_mut() {
            Some((_, last, same)) if *last + 1 == number && *same == spans => *last = number,
            _ => groups.push((number, number, spans)),
        }
    }
    let name = |number: &usize| texts.days.get(*number).copied().unwrap_or_default();
    let groups = groups.iter().filter(|(.., spans)| !spans.is_empty()).map(|(first, last, spans)| {
        let days =
            if first == last { name(first).to_owned() } else { format!("{}-{}", name(first), name(last)) };
        format!("{days} {}", spans.join(", "))
    });
    groups.collect::<Vec<_>>().join("; ")
}

fn clock(time: Time, texts: &Texts) -> String {
    if !texts.twelve_hours {
        // As an end midnight is the day's.
        return time.strftime("%H:%M").to_string();
    }
    time.strftime("%-I:%M %p").to_string()
}

#[cfg(test)]
mod tests {
    use super::super::texts::in_language;
    use super::*;
    use crate::config::Config;

    fn site() -> SiteSection {
        let text = r#"
            [[site]]
            id = "north"
            name = "Lakeside"
            timezone = "America/Chicago"
            holidays = ["2026-12-25"]
            [site.hours]
            mon = ["08:00-17:00"]
            tue = ["08:00-17:00"]
            wed = ["08:00-17:00"]
            thu = ["08:00-17:00"]
            fri = ["08:00-12:00", "13:00-17:00"]
            sat = ["20:00-00:00"]
        "#;
        Config::from_toml(text).unwrap().sites.remove(0)
    }

    #[test]
    fn whoever_writes_at_night_is_told_once_in_a_while() {
        let site = site();
        for (before, now, expected) in [
            // Chicago is at UTC-6. Thursday noon, five to eight, seventeen.
            (None, "2026-12-03T18:00:00Z", false),
            (None, "2026-12-03T13:55:00Z", true),
            (None, "2026-12-03T23:00:00Z", true),
            (None, "2026-12-03T22:59:59Z", false),
            // Friday's lunch; Saturday evening to midnight, and Sunday after it; Christmas, a Friday.
            (None, "2026-12-04T18:30:00Z", true),
            (None, "2026-12-06T05:59:00Z", false),
            (None, "2026-12-06T06:00:00Z", true),
            (None, "2026-12-25T18:00:00Z", true),
            // They were told an hour ago; seven hours ago; they wrote within the hours, and nobody said anything.
            (Some("2026-12-04T00:00:00Z"), "2026-12-04T01:00:00Z", false),
            (Some("2026-12-04T00:00:00Z"), "2026-12-04T07:00:00Z", true),
            (Some("2026-12-03T22:58:00Z"), "2026-12-03T23:02:00Z", true),
        ] {
            let at = |text: &str| text.parse::<Timestamp>().unwrap();
            assert_eq!(is_closed_notice_due(&site, before.map(at), at(now)), expected, "{before:?} {now}");
        }
        let always = SiteSection { hours: Vec::new(), ..site };
        assert!(
            !is_closed_notice_due(&always, None, "2026-12-03T06:00:00Z".parse().unwrap()),
            "says nothing"
        );
    }

    #[test]
    fn hours_are_written_as_people_write_them() {
        let site = site();
        assert_eq!(
            hours(&site.hours, in_language("en")),
            "Mon-Thu 8:00 AM-5:00 PM; Fri 8:00 AM-12:00 PM, 1:00 PM-5:00 PM; Sat 8:00 PM-12:00 AM"
        );
        assert_eq!(
            hours(&site.hours, in_language("es")),
            "lun-jue 08:00-17:00; vie 08:00-12:00, 13:00-17:00; sáb 20:00-00:00"
        );
    }
}
