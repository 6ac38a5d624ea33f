//! Where a recipient lives, as far as it is known: the clocks they may live by, and the states whose rules protect
//! them.
//!
//! A zone that the patient has stated is theirs. Without one, every zone that the postal area, the telephone's area
//! code or the site points to is a candidate, and the message waits until all of them allow it. A guessed zone
//! serves quiet hours, never content.

mod tables;

use jiff::tz::TimeZone;

use crate::domain::hours::Area;
use crate::domain::patient::PostalAddress;
use crate::domain::reader::is_place;
use crate::domain::words::words;

words! {
    /// Where a zone was taken from.
    ZoneSource {
        /// The patient's record names it.
        Stated = "stated",
        /// State, postal code or country of the address.
        PostalArea = "postal_area",
        /// The telephone number's area code or country.
        PhoneArea = "phone_area",
        /// The site's own.
        Site = "site",
        /// Nothing else is known: the organisation's.
        Organisation = "organisation",
    }
}

/// What is known of the recipient.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The IANA zone of their record.
    pub timezone: Option<&'a str>,
    pub address: Option<&'a PostalAddress>,
    /// E.164, of the contact to be used or of another.
    pub phone: Option<&'a str>,
    /// Of the site that writes to them.
    pub site: Option<&'a TimeZone>,
    pub organisation: &'a TimeZone,
    /// ISO 3166-1 alpha-2: the country of addresses that name none.
    pub country: &'a str,
}

/// Where the recipient may be.
#[derive(Clone, Debug)]
pub struct Place {
    /// At least one; each another clock.
    pub zones: Vec<TimeZone>,
    /// Where they were taken from.
    pub from: Vec<ZoneSource>,
    /// The states, or the country, whose rules hold for them.
    pub areas: Vec<Area>,
}

/// Finds the place.
#[must_use]
pub fn place(known: &Known<'_>) -> Place {
    let postal = known.address.map(|address| postal_areas(address, known.country)).unwrap_or_default();
    let phone = known.phone.and_then(tables::phone);
    let country = || Area::parse(known.country).into_iter().collect();
    let areas = match &phone {
        _ if !postal.is_empty() => postal.clone(),
        Some(phone) => phone.areas.clone(),
        None => country(),
    };
    if let Some(stated) = known.timezone.and_then(self::stated) {
        return Place { zones: vec![stated], from: vec![ZoneSource::Stated], areas };
    }
    let mut place = Place { zones: Vec::new(), from: Vec::new(), areas };
    place.add(ZoneSource::PostalArea, postal.iter().flat_map(|area| tables::zones_of(area)));
    place.add(ZoneSource::PhoneArea, phone.iter().flat_map(|phone| phone.zones));
    place.add(ZoneSource::Site, known.site);
    if place.zones.is_empty() {
        place.add(ZoneSource::Organisation, [known.organisation]);
    }
    place
}

/// The country (ISO 3166-1 alpha-2) that an E.164 number belongs to, where the numbering plan tells.
#[must_use]
pub fn country_of(e164: &str) -> Option<String> {
    // Reading a number by all rules of all plans takes longer than the rest of a decision; an area code is enough.
    if let Some(area) = tables::area_code(e164) {
        return Some(area.country().to_owned());
    }
    Some(crate::domain::phone::region_of(e164)?.as_str().to_owned())
}

impl Place {
    fn add<'z>(&mut self, from: ZoneSource, zones: impl IntoIterator<Item = &'z TimeZone>) {
        let mut zones = zones.into_iter().peekable();
        if zones.peek().is_some() {
            self.from.push(from);
        }
        for zone in zones {
            if !self.zones.iter().any(|other| other.iana_name() == zone.iana_name()) {
                self.zones.push(zone.clone());
            }
        }
    }
}

/// The zone that somebody has stated, where people live by it.
#[must_use]
pub fn stated(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok().filter(|_| is_place(name))
}

/// The state or province that an address names, whether or not the tables know it. `home` is the country of addresses
/// that name none.
#[must_use]
pub fn state_of(address: &PostalAddress, home: &str) -> Option<Area> {
    let country = address.country.as_deref().unwrap_or(home);
    let state = address.state.as_deref()?.trim();
    // `US-TX` is as good as `TX`.
    let part = match state.split_once('-') {
        Some((head, part)) if head.eq_ignore_ascii_case(country) => part,
        _ => state,
    };
    Area::parse(&format!("{country}-{part}"))
}

/// The state or province of an address, else its country where that has no states of its own in the tables: a
/// country alone says too little of where in North America somebody lives.
fn postal_areas(address: &PostalAddress, home: &str) -> Vec<Area> {
    let country = address.country.as_deref().unwrap_or(home);
    let known = |area: &Area| !tables::zones_of(area).is_empty();
    if let Some(state) = state_of(address, home).filter(known) {
        return vec![state];
    }
    let postal = address.postal_code.as_ref().map(|code| tables::postal(country, code.expose()));
    postal
        .filter(|areas| !areas.is_empty())
        .unwrap_or_else(|| Area::parse(country).filter(known).into_iter().collect())
}

#[cfg(test)]
mod tests;
