//! The tables behind it, read once: `nanp.txt`, `countries.txt`, `postal.txt`. Each says where its facts are from.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::tz::TimeZone;

use crate::domain::hours::Area;
use crate::domain::phone;

const NANP: &str = include_str!("nanp.txt");
const COUNTRIES: &str = include_str!("countries.txt");
const POSTAL: &str = include_str!("postal.txt");

/// What a telephone number says of its owner.
#[derive(Clone, Debug)]
pub(super) struct PhoneArea {
    pub(super) areas: Vec<Area>,
    pub(super) zones: &'static [TimeZone],
}

/// One line of `nanp.txt`.
struct Line {
    areas: Vec<Area>,
    zones: Vec<TimeZone>,
    codes: Vec<&'static str>,
}

struct Tables {
    lines: Vec<Line>,
    /// Area codes, by the place of their line.
    codes: HashMap<&'static str, usize>,
    zones: HashMap<Area, Vec<TimeZone>>,
    /// First and last prefix, and where they lie.
    postal: Vec<(&'static str, &'static str, Vec<Area>)>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let lines: Vec<Line> = rows(NANP).map(line).collect();
    let codes =
        lines.iter().enumerate().flat_map(|(at, line)| line.codes.iter().map(move |code| (*code, at)));
    let mut zones: HashMap<Area, Vec<TimeZone>> = HashMap::new();
    let mut add = |line: &Line, area: &Area| {
        let of_area = zones.entry(area.clone()).or_default();
        of_area.extend(line.zones.iter().cloned());
        of_area.sort_by(|a, b| a.iana_name().cmp(&b.iana_name()));
        of_area.dedup_by(|a, b| a.iana_name() == b.iana_name());
    };
    for line in &lines {
        // What a code says of a whole country is not all of it.
        let states = line.areas.iter().filter(|area| area.as_str() != area.country());
        states.for_each(|area| add(line, area));
    }
    for line in rows(COUNTRIES).map(line) {
        line.areas.iter().for_each(|area| add(&line, area));
    }
    Tables { codes: codes.collect(), zones, postal: rows(POSTAL).flat_map(prefixes).collect(), lines }
});

/// The zones of an area; none where the tables do not know it.
pub(super) fn zones_of(area: &Area) -> &'static [TimeZone] {
    TABLES.zones.get(area).map(Vec::as_slice).unwrap_or_default()
}

/// The first area of a number's North American area code.
pub(super) fn area_code(e164: &str) -> Option<&'static Area> {
    let code = e164.strip_prefix("+1")?.get(..3)?;
    TABLES.lines.get(*TABLES.codes.get(code)?)?.areas.first()
}

/// Where an E.164 number belongs; `None` for toll-free and unknown ones.
pub(super) fn phone(e164: &str) -> Option<PhoneArea> {
    if let Some(national) = e164.strip_prefix("+1") {
        let line = TABLES.lines.get(*TABLES.codes.get(national.get(..3)?)?)?;
        return Some(PhoneArea { areas: line.areas.clone(), zones: &line.zones });
    }
    let area = Area::parse(phone::region_of(e164)?.as_str())?;
    let zones = zones_of(&area);
    (!zones.is_empty()).then(|| PhoneArea { areas: vec![area], zones })
}

/// Where a postal code of `country` lies; empty where the tables do not know it.
pub(super) fn postal(country: &str, code: &str) -> Vec<Area> {
    let code = code.trim().to_ascii_uppercase();
    let of_country = |areas: &[Area]| areas.iter().all(|area| area.country() == country);
    let found = TABLES.postal.iter().find(|(first, last, areas)| {
        let prefix = code.get(..first.len());
        of_country(areas) && prefix.is_some_and(|prefix| (*first..=*last).contains(&prefix))
    });
    found.map(|(_, _, areas)| areas.clone()).unwrap_or_default()
}

fn rows(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Areas, zones (the words with a slash), and codes after a colon.
fn line(row: &'static str) -> Line {
    let (names, codes) = row.split_once(':').unwrap_or((row, ""));
    let (zones, areas): (Vec<&str>, Vec<&str>) =
        names.split_ascii_whitespace().partition(|name| name.contains('/'));
    Line {
        areas: areas.into_iter().filter_map(Area::parse).collect(),
        zones: zones.into_iter().filter_map(|name| TimeZone::get(name).ok()).collect(),
        codes: codes.split_ascii_whitespace().collect(),
    }
}

/// Areas, then prefixes: one, or a first and a last.
fn prefixes(row: &'static str) -> impl Iterator<Item = (&'static str, &'static str, Vec<Area>)> {
    let is_area = |word: &&str| word.get(2..3) == Some("-");
    let (areas, prefixes): (Vec<&str>, Vec<&str>) = row.split_ascii_whitespace().partition(is_area);
    let areas: Vec<Area> = areas.into_iter().filter_map(Area::parse).collect();
    prefixes.into_iter().map(move |prefix| {
        let (first, last) = prefix.split_once('-').unwrap_or((prefix, prefix));
        (first, last, areas.clone())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_and_empty_lines_are_no_rows() {
        assert_eq!(rows("# US-IL 600\n\nUS-IL 601\n").collect::<Vec<_>>(), ["US-IL 601"]);
    }
}
