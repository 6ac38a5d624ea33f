//! Numbering plans: which digits make a number, and of what kind. The patterns are libphonenumber's, from the
//! `phonenumber` crate; the reading follows libphonenumber's own algorithm, because the crate's strips the caller's
//! trunk prefix from numbers of other countries and matches patterns by their beginning.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use phonenumber::metadata::DATABASE;
use phonenumber::{Metadata, Type};
use regex::{Regex, RegexBuilder};

use super::{PhoneFault, PhoneKind};

/// Digits of a national number, in libphonenumber's reckoning.
const NATIONAL_DIGITS: std::ops::RangeInclusive<usize> = 2..=17;

/// A number as its plan knows it.
pub(super) struct Located {
    pub(super) calling_code: u16,
    /// The national significant number, with the zero that is part of it in Italy.
    pub(super) national: String,
    pub(super) kind: PhoneKind,
}

/// Whether `region` has a plan.
pub(super) fn knows(region: &str) -> bool {
    territory(region).is_some()
}

/// Finds the number behind `dialled` (digits, after one plus if it is international) as dialled in `region`.
pub(super) fn locate(dialled: &str, region: &str) -> Result<Located, PhoneFault> {
    let home = territory(region).ok_or(PhoneFault::CountryCode)?;
    let (territories, digits) = match dialled.strip_prefix('+').or_else(|| home.plan().after_idd(dialled)) {
        Some(international) => split_calling_code(international)?,
        None => (of_code(home.calling_code)?, home.without_calling_code(dialled)),
    };
    let main = territories.first().ok_or(PhoneFault::CountryCode)?;
    // Where several territories share a code, the caller's own trunk prefix holds for their own numbers.
    let written_in = if main.calling_code == home.calling_code { home } else { main };
    let stripped = written_in.plan().without_trunk_prefix(&digits);
    let national = if written_in.plan().is_possible_or_longer(&stripped) { stripped } else { digits };
    match national.len() {
        n if n < *NATIONAL_DIGITS.start() => return Err(PhoneFault::TooShort),
        n if n > *NATIONAL_DIGITS.end() => return Err(PhoneFault::TooLong),
        _ => {}
    }
    let kind = kind_of(territories, &national).ok_or_else(|| main.plan().misfit(&national))?;
    Ok(Located { calling_code: main.calling_code, national, kind })
}

/// A country or area with a plan of its own.
struct Territory {
    calling_code: u16,
    metadata: &'static Metadata,
    plan: OnceLock<Plan>,
}

/// By calling code, the main territory first.
static TERRITORIES: LazyLock<HashMap<u16, Vec<Territory>>> = LazyLock::new(|| {
    (1..=999_u16)
        .filter_map(|code| Some((code, DATABASE.by_code(&code)?)))
        .map(|(calling_code, plans)| {
            let territory = |metadata| Territory { calling_code, metadata, plan: OnceLock::new() };
            (calling_code, plans.into_iter().map(territory).collect())
        })
        .collect()
});

fn territory(region: &str) -> Option<&'static Territory> {
    let code = DATABASE.by_id(region)?.country_code();
    TERRITORIES.get(&code)?.iter().find(|territory| territory.metadata.id() == region)
}

fn of_code(code: u16) -> Result<&'static [Territory], PhoneFault> {
    TERRITORIES.get(&code).map(Vec::as_slice).ok_or(PhoneFault::CountryCode)
}

/// No calling code begins another, so the first that fits is the one.
fn split_calling_code(international: &str) -> Result<(&'static [Territory], String), PhoneFault> {
    if international.len() <= *NATIONAL_DIGITS.start() {
        return Err(PhoneFault::TooShort);
    }
    if international.starts_with('0') {
        return Err(PhoneFault::CountryCode);
    }
    (1..=3)
        .filter_map(|length| international.split_at_checked(length))
        .find_map(|(code, rest)| Some((of_code(code.parse().ok()?).ok()?, rest.to_owned())))
        .ok_or(PhoneFault::CountryCode)
}

fn kind_of(territories: &[Territory], national: &str) -> Option<PhoneKind> {
    if let [only] = territories {
        return only.plan().kind(national);
    }
    territories.iter().find_map(|territory| {
        let plan = territory.plan();
        match &plan.leading_digits {
            Some(leading) if leading.is_match(national) => Some(plan.kind(national)),
            Some(_) => None,
            None => plan.kind(national).map(Some),
        }
    })?
}

impl Territory {
    fn plan(&self) -> &Plan {
        self.plan.get_or_init(|| Plan::of(self.metadata))
    }

    /// A number written with its calling code and without the plus: taken so only where the whole would not be a
    /// national number, or is too long for one.
    fn without_calling_code(&self, digits: &str) -> String {
        let plan = self.plan();
        let rest =
            digits.strip_prefix(&self.calling_code.to_string()).map(|rest| plan.without_trunk_prefix(rest));
        match rest {
            Some(rest)
                if (!plan.general.fits(digits) && plan.general.fits(&rest)) || plan.is_too_long(digits) =>
            {
                rest
            }
            _ => digits.to_owned(),
        }
    }
}

/// One territory's patterns, made ready.
struct Plan {
    general: Pattern,
    kinds: Vec<(PhoneKind, Pattern)>,
    /// What is dialled before a calling code.
    idd: Option<Regex>,
    trunk_prefix: Option<Regex>,
    /// How a number with the prefix is rewritten, where it is not merely cut off.
    transform: Option<String>,
    leading_digits: Option<Regex>,
    /// Lengths of numbers that can be dialled only from near by.
    local_lengths: Vec<usize>,
}

/// Numbers of one kind.
struct Pattern {
    whole: Option<Regex>,
    lengths: Vec<usize>,
}

impl Pattern {
    fn of(numbers: &phonenumber::metadata::Descriptor, lengths: Vec<usize>) -> Self {
        Self { whole: compile(&format!("^(?:{})$", numbers.national_number().as_str())), lengths }
    }

    /// By the digits alone.
    fn fits(&self, national: &str) -> bool {
        self.whole.as_ref().is_some_and(|pattern| pattern.is_match(national))
    }

    fn holds(&self, national: &str) -> bool {
        (self.lengths.is_empty() || self.lengths.contains(&national.len())) && self.fits(national)
    }
}

impl Plan {
    fn of(metadata: &Metadata) -> Self {
        const KINDS: [(Type, PhoneKind); 10] = [
            (Type::PremiumRate, PhoneKind::PremiumRate),
            (Type::TollFree, PhoneKind::TollFree),
            (Type::SharedCost, PhoneKind::SharedCost),
            (Type::Voip, PhoneKind::Voip),
            (Type::PersonalNumber, PhoneKind::PersonalNumber),
            (Type::Pager, PhoneKind::Pager),
            (Type::Uan, PhoneKind::Uan),
            (Type::Voicemail, PhoneKind::Voicemail),
            (Type::FixedLine, PhoneKind::FixedLine),
            (Type::Mobile, PhoneKind::Mobile),
        ];
        let known =
            || KINDS.iter().filter_map(|(kind, ours)| Some((*ours, metadata.descriptors().get(*kind)?)));
        let widen = |lengths: &[u16]| lengths.iter().map(|n| usize::from(*n)).collect::<Vec<_>>();
        let mut lengths: Vec<_> = known().flat_map(|(_, numbers)| widen(numbers.possible_length())).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let mut local_lengths: Vec<_> =
            known().flat_map(|(_, numbers)| widen(numbers.possible_local_length())).collect();
        local_lengths.retain(|length| !lengths.contains(length));
        let at_start = |pattern: &str| compile(&format!("^(?:{pattern})"));
        Self {
            general: Pattern::of(metadata.descriptors().general(), lengths),
            kinds: known()
                .map(|(kind, numbers)| (kind, Pattern::of(numbers, widen(numbers.possible_length()))))
                .collect(),
            idd: metadata.international_prefix().and_then(|pattern| at_start(pattern.as_str())),
            trunk_prefix: match metadata.national_prefix_for_parsing() {
                Some(pattern) => at_start(pattern.as_str()),
                None => metadata.national_prefix().and_then(at_start),
            },
            transform: metadata.national_prefix_transform_rule().map(braced),
            leading_digits: metadata.leading_digits().and_then(|pattern| at_start(pattern.as_str())),
            local_lengths,
        }
    }

    fn kind(&self, national: &str) -> Option<PhoneKind> {
        if !self.general.holds(national) {
            return None;
        }
        let mut kinds =
            self.kinds.iter().filter(|(_, numbers)| numbers.holds(national)).map(|(kind, _)| *kind);
        match (kinds.next(), kinds.next()) {
            (Some(PhoneKind::FixedLine), Some(PhoneKind::Mobile)) => Some(PhoneKind::FixedLineOrMobile),
            (first, _) => first,
        }
    }

    /// What follows the digits that lead abroad.
    fn after_idd<'d>(&self, dialled: &'d str) -> Option<&'d str> {
        let idd = self.idd.as_ref()?.find(dialled)?;
        dialled.get(idd.end()..).filter(|rest| !rest.starts_with('0'))
    }

    /// The number without what is dialled before it inside the country, unless only with it it is a number.
    fn without_trunk_prefix(&self, digits: &str) -> String {
        let found = self.trunk_prefix.as_ref().and_then(|prefix| Some((prefix, prefix.captures(digits)?)));
        let Some((prefix, captures)) = found else {
            return digits.to_owned();
        };
        let last_group = captures.get(captures.len().saturating_sub(1)).filter(|_| captures.len() > 1);
        let rewritten = match (&self.transform, last_group) {
            (Some(rule), Some(_)) => prefix.replace(digits, rule.as_str()).into_owned(),
            _ => captures.get(0).and_then(|all| digits.get(all.end()..)).unwrap_or(digits).to_owned(),
        };
        let spoils = self.general.fits(digits) && !self.general.fits(&rewritten);
        if spoils { digits.to_owned() } else { rewritten }
    }

    fn is_possible_or_longer(&self, national: &str) -> bool {
        let lengths = &self.general.lengths;
        !self.local_lengths.contains(&national.len())
            && (lengths.contains(&national.len()) || self.is_too_long(national))
    }

    fn is_too_long(&self, national: &str) -> bool {
        self.general.lengths.last().is_some_and(|longest| national.len() > *longest)
    }

    /// Why no kind of number holds these digits.
    fn misfit(&self, national: &str) -> PhoneFault {
        match (self.general.lengths.first(), self.general.lengths.last()) {
            (Some(shortest), _) if national.len() < *shortest => PhoneFault::TooShort,
            (_, Some(longest)) if national.len() > *longest => PhoneFault::TooLong,
            _ => PhoneFault::NotAssigned,
        }
    }
}

/// The patterns come compiled into the binary; one that this regex engine could not read holds no number.
fn compile(pattern: &str) -> Option<Regex> {
    RegexBuilder::new(pattern).ignore_whitespace(true).unicode(false).build().ok()
}

/// `9$1` as this regex engine writes it: `9${1}`.
fn braced(rule: &str) -> String {
    let mut out = String::with_capacity(rule.len() + 4);
    let mut chars = rule.chars();
    while let Some(c) = chars.next() {
        match c {
            '$' => out.extend(chars.next().map(|group| format!("${{{group}}}"))),
            other => out.push(other),
        }
    }
    out
}
