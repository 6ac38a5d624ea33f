//! Renders one message for one channel: picks the language, checks the data, fills in the texts, fits them to the
//! channel.
//!
//! Texts are compiled at load and the words of a language are kept per thread, so a message costs little more than
//! its context: a text message takes 94 microseconds in a debug build on two shared cores.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write};

use handlebars::{Context, RenderErrorReason};
use serde_json::{Map, Value};

use crate::domain::ids::{AnswerName, TemplateName};
use crate::domain::outbound::Content;
use crate::domain::patient::Name;
use crate::domain::phi::Phi;
use crate::domain::problem::Problem;
use crate::domain::words::{Channel, Reason};

use super::alphabet::{Alphabet, fit};
use super::catalogue::{Catalogue, Template};
use super::context::context;
use super::formatters::{Formatters, tongue};
use super::helpers::CANNOT_SHOW;
use super::manifest::OnMissingLocale;
use super::part::{Escape, Part, escape_xml};
use super::pointer;
use super::segments::segments;
use super::site::{RecipientContext, SiteContext};

/// Characters of a text message that the providers take (Twilio: `Body`, 1,600).
const MAX_SMS_CHARS: usize = 1_600;
/// Bytes of a long line that a call carries; six of them still fit in beside a text of 600.
const MAX_SPOKEN_ALSO: usize = 300;

/// Everything one message is made of.
#[derive(Clone, Copy)]
pub struct RenderRequest<'a> {
    pub template: &'a TemplateName,
    pub channel: Channel,
    /// BCP-47 tags the recipient reads, best first; may be empty.
    pub languages: &'a [&'a str],
    /// The job's data; it is checked again before anything is rendered.
    pub data: &'a Map<String, Value>,
    /// The name of whom it is about, where the record has one.
    pub patient: Option<&'a Name>,
    /// Who reads it.
    pub recipient: RecipientContext<'a>,
    pub site: Option<&'a SiteContext>,
    /// Signs where the site has no name.
    pub organisation: &'a str,
    /// An earlier message on the matter was sent already.
    pub is_change: bool,
    pub test: bool,
    /// Renders from locales that nobody has approved, too.
    pub drafts: bool,
    /// Keys pressed during a call reach us: 9 ends such calls. Without it no text offers a key.
    pub keypad: bool,
    /// What is answered to a mail reaches us. Without it no mail offers answers.
    pub mailbox: bool,
    /// The digits of the answers that the template offers, as they were given out for this message; empty where it is
    /// not to be sent: then they are numbered as if nothing else were waited for.
    pub digits: &'a [(AnswerName, u8)],
    /// The link to the recipient's own page, where messages can be ended and chosen; https.
    pub unsubscribe_url: Option<&'a str>,
    /// ISO 3166-1 alpha-2 of the place: phone numbers and, where the recipient's tag has no region, dates are
    /// written as there.
    pub region: Option<&'a str>,
}

/// Without the data, which is the patient's.
impl fmt::Debug for RenderRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderRequest")
            .field("template", self.template)
            .field("channel", &self.channel)
            .field("languages", &self.languages)
            .field("is_change", &self.is_change)
            .field("test", &self.test)
            .finish_non_exhaustive()
    }
}

/// A message ready for its channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// `Voice.extension` is the contact's and is left empty here.
    pub content: Content,
    /// The locale of the texts, which is the message's language.
    pub locale: String,
    /// Of an SMS; 0 for other channels.
    pub segments: u32,
    /// `sms.short` stood in for `sms`.
    pub shortened: bool,
    /// [`RenderRequest::unsubscribe_url`], where the recipient is given it: by email always, because it stands in the
    /// headers; elsewhere where the text shows it.
    pub unsubscribe_url: Option<String>,
}

/// Why there is no message. Holds no value of the data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))]
pub struct RenderError {
    /// `unknown_template`, `bad_data`, `no_translation`, `too_long` (try the next channel) or `template_error`.
    pub reason: Reason,
    pub problems: Vec<Problem>,
}

impl RenderError {
    fn new(reason: Reason, field: String, rule: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { reason, problems: vec![Problem::new(field, reason, rule, cure)] }
    }
}

impl Catalogue {
    /// Renders one message.
    ///
    /// # Errors
    /// See [`RenderError::reason`].
    pub fn render(&self, request: &RenderRequest<'_>) -> Result<Rendered, RenderError> {
        self.render_parts(request, &[], &[Part::Sms, Part::SmsShort])
    }

    /// Renders one message that carries others, each of them a line by [`Self::also`]. An SMS may take as many segments
    /// as all of them together might.
    ///
    /// # Errors
    /// As [`Self::render`]; `template_error` too where a text leaves out what it carries.
    pub fn render_together(
        &self,
        request: &RenderRequest<'_>,
        also: &[String],
    ) -> Result<Rendered, RenderError> {
        self.render_parts(request, also, &[Part::Sms, Part::SmsShort])
    }

    /// Renders the message's own text, or where it is to be a `pointer`, what points to the portal instead.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_either(&self, request: &RenderRequest<'_>, pointer: bool) -> Result<Rendered, RenderError> {
        if pointer { self.render_pointer(request) } else { self.render(request) }
    }

    /// What points to the portal knows nothing of the message.
    fn render_pointer(&self, request: &RenderRequest<'_>) -> Result<Rendered, RenderError> {
        let pointer = self.pointer().ok_or_else(|| {
            let cure = "load the templates from a folder";
            RenderError::new(
                Reason::UnknownTemplate,
                pointer::NAME.to_owned(),
                "is not in the catalogue",
                cure,
            )
        })?;
        let nothing = Map::new();
        self.render(&RenderRequest {
            template: &pointer.name,
            data: &nothing,
            is_change: false,
            digits: &[],
            ..*request
        })
    }

    /// What a message says where another one carries it: one line, as plain text.
    ///
    /// # Errors
    /// As [`Self::render`]; `template_error` too where its locale has no such line.
    pub fn also(&self, request: &RenderRequest<'_>) -> Result<String, RenderError> {
        let page = self.page(request, &[])?;
        let long = match request.channel {
            Channel::Email | Channel::Portal => page.part(Part::AlsoLong)?,
            // Abbreviations are not for the ear.
            Channel::Voice => page.part(Part::AlsoLong)?.filter(|line| line.len() <= MAX_SPOKEN_ALSO),
            Channel::Sms => None,
        };
        let line = match long {
            Some(line) => Some(line),
            None => page.part(Part::Also)?,
        };
        line.filter(|line| !line.is_empty()).ok_or_else(|| {
            page.fault(
                Part::Also,
                None,
                "is missing, or empty with this data",
                "write it, or set digest = false",
            )
        })
    }

    /// As [`Self::render_together`]; for an SMS the first of `sms` that fits.
    pub(super) fn render_parts(
        &self,
        request: &RenderRequest<'_>,
        also: &[String],
        sms: &[Part],
    ) -> Result<Rendered, RenderError> {
        let page = self.page(request, also)?;
        let (content, shortened) = match request.channel {
            Channel::Sms => page.sms(sms)?,
            Channel::Email => (page.email(request.unsubscribe_url)?, false),
            Channel::Voice => (page.voice()?, false),
            Channel::Portal => (page.portal()?, false),
        };
        let segments = if let Content::Sms { segments, .. } = content { segments } else { 0 };
        let unsubscribe_url = request.unsubscribe_url.filter(|url| shows(&content, url)).map(str::to_owned);
        Ok(Rendered { content, locale: page.locale.to_owned(), segments, shortened, unsubscribe_url })
    }

    /// The texts for one message, once its data was checked.
    fn page<'a>(&'a self, request: &RenderRequest<'_>, also: &'a [String]) -> Result<Page<'a>, RenderError> {
        let template = self.get(request.template).ok_or_else(|| {
            let cure = "deploy the template, or correct the name";
            RenderError::new(Reason::UnknownTemplate, "template".to_owned(), "is not in the catalogue", cure)
        })?;
        template
            .manifest
            .check_data(request.data)
            .map_err(|problems| RenderError { reason: Reason::BadData, problems })?;
        let (locale, format) = self.choose_locale(template, request)?;
        let context = context(request, also, template, locale, &format);
        Ok(Page { catalogue: self, template, locale, context, also })
    }

    /// The locale of the texts, and the tag by which dates and numbers are written.
    fn choose_locale<'t>(
        &self,
        template: &'t Template,
        request: &RenderRequest<'_>,
    ) -> Result<(&'t str, String), RenderError> {
        let drafts = request.drafts || request.test;
        let usable = |locale: &str| self.is_usable(template, locale, request.channel, drafts);
        for wish in request.languages {
            if let Some(locale) = template.locale_for(wish, usable) {
                return Ok((locale, format_tag(locale, Some(wish), request.region)));
            }
        }
        let default = template.manifest.default_locale.as_str();
        let refused =
            template.manifest.on_missing_locale == OnMissingLocale::Refuse && !request.languages.is_empty();
        if refused || !usable(default) {
            let rule = format!("has no approved {} text that the recipient reads", request.channel);
            let cure = "translate it and have it signed off, or leave this channel out";
            return Err(RenderError::new(Reason::NoTranslation, template.name.to_string(), rule, cure));
        }
        Ok((default, format_tag(default, None, request.region)))
    }
}

/// Whether whoever gets `content` gets `url` with it.
fn shows(content: &Content, url: &str) -> bool {
    match content {
        Content::Email { unsubscribe_url, .. } => unsubscribe_url.is_some(),
        Content::Sms { text, .. } | Content::Portal { text, .. } => text.expose().contains(url),
        // Nobody can type what a voice reads out.
        Content::Voice { .. } => false,
    }
}

/// The recipient's own tag where it names a region, so that es-US reads "3:30 p. m." and es-ES "15:30"; else the
/// locale with the region of the place.
fn format_tag(locale: &str, wish: Option<&&str>, region: Option<&str>) -> String {
    let regional = |tag: &str| {
        tongue(tag).is_some_and(|tongue| tongue.region.is_some()) && Formatters::of(tag).is_some()
    };
    if let Some(wish) = wish.filter(|wish| regional(wish)) {
        return (**wish).to_owned();
    }
    match region {
        Some(region) if !regional(locale) => {
            let tag = format!("{locale}-{region}");
            if Formatters::of(&tag).is_some() { tag } else { locale.to_owned() }
        }
        _ => locale.to_owned(),
    }
}

/// The texts of one locale with the values for one message.
struct Page<'a> {
    catalogue: &'a Catalogue,
    template: &'a Template,
    locale: &'a str,
    context: Context,
    /// What it carries, a line each.
    also: &'a [String],
}

impl Page<'_> {
    fn sms(&self, parts: &[Part]) -> Result<(Content, bool), RenderError> {
        let manifest = &self.template.manifest;
        let each = manifest.max_segments(self.locale);
        let most = each.saturating_mul(u32::try_from(self.also.len()).unwrap_or(u32::MAX).saturating_add(1));
        for &part in parts {
            let Some(text) = self.part(part)? else { continue };
            if text.is_empty() {
                return Err(self.fault(
                    part,
                    None,
                    "is empty with this data",
                    "write a text that always says something",
                ));
            }
            if let Some(content) = within(&text, manifest.alphabet(), most) {
                return Ok((content, part == Part::SmsShort));
            }
        }
        let tried = parts.first().copied().unwrap_or(Part::Sms);
        Err(self.too_long(tried, format!("takes more than {most} segments with this data")))
    }

    fn email(&self, unsubscribe_url: Option<&str>) -> Result<Content, RenderError> {
        Ok(Content::Email {
            subject: self.needed(Part::EmailSubject)?,
            text: self.needed(Part::EmailText)?,
            html: self.needed(Part::EmailHtml)?,
            unsubscribe_url: unsubscribe_url.map(str::to_owned),
        })
    }

    fn voice(&self) -> Result<Content, RenderError> {
        let speech = self.needed(Part::Voice)?;
        let voicemail = self.part(Part::Voicemail)?.filter(|text| !text.is_empty()).map(Phi::new);
        Ok(Content::Voice { speech, voicemail, extension: None })
    }

    fn portal(&self) -> Result<Content, RenderError> {
        let text = self.needed(Part::Portal)?;
        let subject = match self.part(Part::PortalSubject)?.filter(|subject| !subject.is_empty()) {
            Some(subject) => Phi::new(subject),
            None => self.needed(Part::EmailSubject)?,
        };
        Ok(Content::Portal { subject, text })
    }

    fn needed(&self, part: Part) -> Result<Phi, RenderError> {
        let missing =
            || self.fault(part, None, "is empty with this data", "write a text that always says something");
        self.part(part)?.filter(|text| !text.is_empty()).map(Phi::new).ok_or_else(missing)
    }

    /// One rendered text, tidied; `None` where the locale has none.
    fn part(&self, part: Part) -> Result<Option<String>, RenderError> {
        let Some(name) = self.template.text(self.locale, part) else { return Ok(None) };
        let Some(registry) = self.catalogue.registry(self.locale, part.escape()) else { return Ok(None) };
        let mut out = Bounded { text: Vec::with_capacity(512), left: part.max_bytes(), full: false };
        match registry.render_with_context_to_write(name, &self.context, &mut out) {
            Ok(()) => {}
            Err(_) if out.full => {
                return Err(self.too_long(part, format!("is longer than {} bytes", part.max_bytes())));
            }
            Err(error) => return Err(self.engine_fault(part, &error)),
        }
        let text = String::from_utf8(out.text)
            .map_err(|_| self.fault(part, None, "is not UTF-8", "save the files as UTF-8"))?;
        let text = part.tidy(&text);
        if part.is_full()
            && !self.also.iter().all(|line| text.contains(escaped(line, part.escape()).as_ref()))
        {
            let cure = "show each of {{#each also}}, or set digest = false";
            return Err(self.fault(part, None, "does not show what the message carries", cure));
        }
        Ok(Some(text))
    }

    /// The engine's errors may print values; only what is known to be a name is passed on.
    fn engine_fault(&self, part: Part, error: &handlebars::RenderError) -> RenderError {
        let rule = match error.reason() {
            RenderErrorReason::MissingVariable(Some(path)) => {
                format!("uses {path}, which this message lacks")
            }
            RenderErrorReason::Other(said) if said.ends_with(CANNOT_SHOW) => said.clone(),
            _ => "does not render".to_owned(),
        };
        self.fault(part, error.line_no, rule, "put an #if around the value, and run `template lint`")
    }

    fn fault(&self, part: Part, line: Option<usize>, rule: impl Into<String>, cure: &str) -> RenderError {
        let at = line.map(|line| format!(":{line}")).unwrap_or_default();
        let file = format!("{}/{}/{part}.hbs{at}", self.template.name, self.locale);
        RenderError::new(Reason::TemplateError, file, rule, cure)
    }

    fn too_long(&self, part: Part, rule: String) -> RenderError {
        let file = format!("{}/{}/{part}.hbs", self.template.name, self.locale);
        let cure = "shorten the text or the data, or raise max_segments";
        RenderError::new(Reason::TooLong, file, rule, cure)
    }
}

/// The text in no more segments than `most`. Where one accent makes it too long, the accent gives way.
fn within(text: &str, alphabet: Alphabet, most: u32) -> Option<Content> {
    let last = (alphabet == Alphabet::Auto).then_some(Alphabet::Gsm7);
    [alphabet].into_iter().chain(last).find_map(|alphabet| {
        let text = fit(text.to_owned(), alphabet);
        let count = segments(&text).segments;
        let fits = count <= most && text.chars().nth(MAX_SMS_CHARS).is_none();
        fits.then(|| Content::Sms { text: Phi::new(text), segments: count })
    })
}

/// A line as it stands in a text that escapes so.
fn escaped(line: &str, escape: Escape) -> Cow<'_, str> {
    match escape {
        Escape::None => Cow::Borrowed(line),
        Escape::Html => Cow::Owned(handlebars::html_escape(line)),
        Escape::Xml => Cow::Owned(escape_xml(line)),
    }
}

/// Takes so many bytes and no more.
struct Bounded {
    text: Vec<u8>,
    left: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.left.checked_sub(bytes.len()) {
            Some(left) => {
                self.left = left;
                self.text.extend_from_slice(bytes);
                Ok(bytes.len())
            }
            None => {
                self.full = true;
                Err(io::ErrorKind::WriteZero.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
