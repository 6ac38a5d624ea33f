//! Reads every text as a patient, a carrier and a lawyer would, and says what they would object to.
//!
//! It looks at the rendered samples, not at the source: what counts is what arrives.

use crate::domain::words::Channel;
use crate::policy::sign_off::Standing;

use super::catalogue::{Catalogue, Template};
use super::finding::{Finding, Severity};
use super::helpers::show_phone;
use super::part::Part;
use super::phrases::{has_opt_out, has_reply, offered_stop_word, shortener};
use super::preview::{Preview, SAMPLE_REGION, Sample, preview};
use super::segments::segments;
use super::site::SiteContext;
use super::variable::Kind;

/// What the lint compares with.
#[derive(Clone, Debug)]
pub struct LintOptions {
    /// The place whose name and phone the samples show.
    pub site: SiteContext,
    /// Price of one SMS segment, in the currency of the reader; figures are left out without it.
    pub cost_per_segment: Option<f64>,
}

impl Default for LintOptions {
    fn default() -> Self {
        Self { site: SiteContext::sample(), cost_per_segment: None }
    }
}

/// Everything to be said about a catalogue, by file; errors must be mended before anything is sent.
#[must_use]
pub fn lint(catalogue: &Catalogue, options: &LintOptions) -> Vec<Finding> {
    let mut findings = catalogue.remarks().to_vec();
    for template in catalogue.templates() {
        coverage(catalogue, template, &mut findings);
        for &sample in Sample::ALL {
            for preview in preview(catalogue, template, sample, &options.site) {
                text(template, &preview, options, &mut findings);
            }
        }
    }
    findings.sort_by(|a, b| (&a.file, a.line, a.rule).cmp(&(&b.file, b.line, b.rule)));
    // The same remark comes once for each sample that shows it.
    findings.dedup_by(|a, b| (&a.file, a.line, a.rule, &a.message) == (&b.file, b.line, b.rule, &b.message));
    findings
}

/// Which channels and locales are missing or not approved.
fn coverage(catalogue: &Catalogue, template: &Template, findings: &mut Vec<Finding>) {
    let manifest = template.name.as_str();
    for locale in template.locales() {
        if template.manifest.digest && template.text(locale, Part::Also).is_none() {
            let file = format!("{manifest}/{locale}/{}.hbs", Part::Also);
            let message = "is missing, and template.toml says digest = true: these go one by one".to_owned();
            let cure = "write in one line what another message is to say of this one";
            findings
                .push(Finding::error(&file, None, "digest", message, cure).with_severity(Severity::Warning));
        }
        for channel in template.channels().filter(|&channel| !template.has(locale, channel)) {
            let file = format!("{manifest}/{locale}");
            let message = format!("has no {channel} text, which the default locale has");
            let cure = "translate it; until then these readers get the default locale or nothing";
            findings.push(
                Finding::error(&file, None, "missing-translation", message, cure)
                    .with_severity(Severity::Warning),
            );
        }
        let standing = catalogue.standing(template, locale);
        if !standing.is_approved() {
            let file = format!("{manifest}/template.toml");
            let message = match standing {
                Standing::Changed(_) => {
                    format!("{locale} has changed since it was signed off, and is sent in tests only")
                }
                Standing::TakenBack(_) => {
                    format!("{locale} is sent in tests only: its sign-off was taken back")
                }
                _ if !catalogue.knows_sign_offs() => {
                    format!(
                        "{locale} is not in `approved`: unless it was signed off, it is sent in tests only"
                    )
                }
                _ => format!("{locale} is not approved and is sent in tests only"),
            };
            let cure = format!(
                "once somebody answers for its texts: sign it off in the console, or by `outreachd template \
                 sign-off {manifest} {locale} --note WHY`, or add it to `approved`"
            );
            findings.push(
                Finding::error(&file, None, "not-approved", message, cure).with_severity(Severity::Warning),
            );
        }
    }
}

fn text(template: &Template, preview: &Preview, options: &LintOptions, findings: &mut Vec<Finding>) {
    let folder = format!("{}/{}", preview.template, preview.locale);
    let rendered = match &preview.result {
        Ok(rendered) => rendered,
        Err(error) => {
            for problem in &error.problems {
                let (file, line) = place(&problem.field, &folder);
                let message = format!("{} ({} sample)", problem.rule, preview.sample);
                findings.push(Finding::error(&file, line, "render", message, problem.cure.clone()));
            }
            return;
        }
    };
    for (name, text) in preview.texts() {
        let part = part_of(preview.channel, name, rendered.shortened);
        let file = format!("{folder}/{part}.hbs");
        let mut say = |rule, message: String, cure: &str| {
            findings.push(Finding::error(&file, None, rule, message, cure));
        };
        if let Some(host) = shortener(text) {
            say("shortener", format!("links to the public shortener {host}"), "link to a domain of your own");
        }
        if let Some(word) = offered_stop_word(text) {
            let message = format!("offers {word} as an answer, which carriers and we read as an opt-out");
            say("stop-word", message, "choose another word, such as NO, CHANGE or HELP");
        }
        if !part.is_whole() {
            continue;
        }
        if !names_site(text, options, part) {
            say("site-name", "does not say who writes".to_owned(), "use {{site.name}}");
        }
        if !has_way_back(text, template, options) {
            let cure = "use {{phone site.phone}}, or say what to reply";
            say("way-back", "does not say how to reach the clinic".to_owned(), cure);
        }
        if template.manifest.opt_out_line && !opts_out(text, part) {
            let cure = "use {{> opt_out}}, {{> opt_out_page}}, {{> opt_out_voice}} or words of your own";
            say("opt-out", "does not say how to opt out, which its purpose needs".to_owned(), cure);
        }
        if preview.channel == Channel::Voice {
            ssml(text, &mut say);
        }
        if preview.channel == Channel::Sms && preview.sample == Sample::Longest {
            findings.push(figures(&file, text, options));
        }
    }
}

/// `name/locale/part.hbs:line` as a problem names it.
fn place(field: &str, folder: &str) -> (String, Option<usize>) {
    match field.rsplit_once(':') {
        Some((file, line)) if file.ends_with(".hbs") => (file.to_owned(), line.parse().ok()),
        _ if field.ends_with(".hbs") => (field.to_owned(), None),
        _ => (folder.to_owned(), None),
    }
}

fn part_of(channel: Channel, text: &str, shortened: bool) -> Part {
    match (channel, text) {
        (Channel::Sms, _) if shortened => Part::SmsShort,
        (Channel::Sms, _) => Part::Sms,
        (Channel::Voice, "voicemail") => Part::Voicemail,
        (Channel::Voice, _) => Part::Voice,
        (Channel::Portal, "subject") => Part::PortalSubject,
        (Channel::Portal, _) => Part::Portal,
        (Channel::Email, "subject") => Part::EmailSubject,
        (Channel::Email, "html") => Part::EmailHtml,
        (Channel::Email, _) => Part::EmailText,
    }
}

impl Part {
    /// Whether it must stand on its own: a subject need not say everything.
    const fn is_whole(self) -> bool {
        !matches!(self, Self::EmailSubject | Self::PortalSubject | Self::Also | Self::AlsoLong)
    }
}

fn names_site(text: &str, options: &LintOptions, part: Part) -> bool {
    options.site.names.values().any(|name| {
        text.contains(name.as_str())
            || text.contains(&handlebars::html_escape(name))
            || (part.channel() == Some(Channel::Voice) && text.contains(&super::part::escape_xml(name)))
    })
}

/// Shows the site's number, or one that came with the data, or asks for a reply.
fn has_way_back(text: &str, template: &Template, options: &LintOptions) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    let written = digits(text);
    let variables = template.manifest.variables.values().filter(|variable| variable.kind == Kind::Phone);
    let given = variables.flat_map(|variable| &variable.examples).filter_map(|example| example.as_str());
    let mut numbers = given.chain(options.site.phone.as_deref());
    numbers.any(|number| written.contains(&digits(&show_phone(number, Some(SAMPLE_REGION)))))
        || has_reply(text)
}

/// Whether the text itself says how to stop such messages.
fn opts_out(text: &str, part: Part) -> bool {
    match part.channel() {
        Some(Channel::Email) => has_opt_out(text) && text.contains("https://"),
        _ => has_opt_out(text),
    }
}

/// Tags that may stand in speech (those of Twilio's Say for Polly voices), opened and closed in order.
fn ssml(text: &str, say: &mut impl FnMut(&'static str, String, &str)) {
    const TAGS: &[&str] =
        &["break", "emphasis", "lang", "p", "phoneme", "prosody", "s", "say-as", "sub", "w"];
    if text.split('&').skip(1).any(|rest| !begins_with_entity(rest)) {
        say("ssml", "holds a bare &, after which nothing is read".to_owned(), "write &amp;, or the word");
    }
    let mut open: Vec<&str> = Vec::new();
    for tag in text.split('<').skip(1) {
        let Some((tag, _)) = tag.split_once('>') else {
            say("ssml", "holds a tag that does not end".to_owned(), "close it with >");
            return;
        };
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
        if !TAGS.contains(&name) {
            say(
                "ssml",
                format!("holds the tag <{name}>"),
                "use break, emphasis, lang, p, s, prosody, say-as, sub, w",
            );
        } else if tag.starts_with('/') {
            if open.pop() != Some(name) {
                say(
                    "ssml",
                    format!("closes <{name}> where it is not open"),
                    "close tags in the order of their opening",
                );
            }
        } else if !tag.ends_with('/') {
            open.push(name);
        }
    }
    if let Some(name) = open.pop() {
        say("ssml", format!("does not close <{name}>"), "close it");
    }
}

/// Whether what follows an `&` makes it one of XML's own entities, or a character by its number.
fn begins_with_entity(rest: &str) -> bool {
    let Some((name, _)) = rest.split_once(';') else { return false };
    let all = |digits: &str, fits: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|b| fits(&b));
    match name.strip_prefix('#') {
        Some(number) => match number.strip_prefix('x') {
            Some(digits) => all(digits, u8::is_ascii_hexdigit),
            None => all(number, u8::is_ascii_digit),
        },
        None => matches!(name, "amp" | "lt" | "gt" | "quot" | "apos"),
    }
}

fn figures(file: &str, text: &str, options: &LintOptions) -> Finding {
    let count = segments(text);
    let cost = options
        .cost_per_segment
        .map(|cost| format!(", {:.4} a message", cost * f64::from(count.segments)))
        .unwrap_or_default();
    let message = format!(
        "{} segments ({}, {} units) with the longest sample{cost}",
        count.segments, count.encoding, count.units
    );
    let cure = match count.segments {
        1 => "nothing to do",
        _ => "shorter words save money; sms.short stands in where max_segments is passed",
    };
    Finding::error(file, None, "segments", message, cure).with_severity(Severity::Info)
}
