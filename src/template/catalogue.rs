//! All templates of a folder, compiled and checked as a whole: either every text of it is usable, or none is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use handlebars::Handlebars;

use crate::domain::ids::TemplateName;
use crate::domain::reply::Offer;
use crate::domain::sign_off::SignOffs;
use crate::domain::words::Channel;
use crate::policy::sign_off::Standing;

use super::compile::{self, Compiled};
use super::files::{self, Files};
use super::finding::{Finding, Severity};
use super::formatters::{Tongue, tongue};
use super::manifest::Manifest;
use super::part::{Escape, Part};
use super::pointer;

/// A checked set of templates, and what people have signed off. It never changes: a reload, and another sign-off, make
/// a new one.
#[derive(Clone, Debug)]
pub struct Catalogue {
    templates: Arc<BTreeMap<TemplateName, Template>>,
    compiled: Arc<BTreeMap<String, Compiled>>,
    /// What was noticed while loading and is no error.
    remarks: Arc<[Finding]>,
    bundle_hash: Arc<str>,
    /// `None`: the ledger was not asked.
    sign_offs: Option<Arc<SignOffs>>,
}

/// One template with what it has in each locale.
#[derive(Debug)]
pub struct Template {
    pub name: TemplateName,
    pub manifest: Manifest,
    locales: BTreeMap<String, LocaleTexts>,
    /// The channels whose texts offer its answers.
    asking: BTreeSet<Channel>,
}

/// Which texts one locale of a template has.
#[derive(Debug)]
struct LocaleTexts {
    tongue: Tongue,
    /// The text's name in the compiled registry.
    parts: BTreeMap<Part, String>,
    /// SHA-256 of all that is read in it: its texts, and the partials and layouts that they use.
    hash: String,
}

impl Catalogue {
    /// Reads, checks and compiles every template below `dir`.
    ///
    /// # Errors
    /// Everything that is wrong, by file and line; then nothing is loaded.
    pub fn load(dir: &Path) -> Result<Self, Vec<Finding>> {
        let mut files = files::read(dir)?;
        pointer::supply(&mut files);
        Self::from_files(&files)
    }

    /// As [`Self::load`], from texts in memory and nothing else: path below the folder (with `/`) to text.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_files(files: &Files) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut templates = templates(files, &mut findings);
        let compiled = compile::compile(files, &mut templates, &mut findings);
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            findings.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
            return Err(findings);
        }
        Ok(Self {
            templates: Arc::new(templates),
            compiled: Arc::new(compiled),
            remarks: findings.into(),
            bundle_hash: files::hash(files).into(),
            sign_offs: None,
        })
    }

    /// The same texts, with what people have signed off.
    #[must_use]
    pub fn with_sign_offs(&self, sign_offs: SignOffs) -> Self {
        Self { sign_offs: Some(Arc::new(sign_offs)), ..self.clone() }
    }

    /// Whether the ledger was asked what people have signed off; until then only what the files approve counts.
    #[must_use]
    pub const fn knows_sign_offs(&self) -> bool {
        self.sign_offs.is_some()
    }

    /// Whether somebody answers for the texts of `locale`.
    #[must_use]
    pub fn standing(&self, template: &Template, locale: &str) -> Standing<'_> {
        let said = self.sign_offs.as_ref().map_or(&[][..], |said| said.of(&template.name, locale));
        let in_file = template.manifest.approved.contains(locale);
        Standing::of(template.hash(locale).unwrap_or_default(), in_file, said)
    }

    /// What an approval of messages of this template is bound to: all texts, and those of its locales that are only said
    /// because people have signed them off.
    #[must_use]
    pub fn said_by(&self, template: &TemplateName) -> String {
        let mut said = self.bundle_hash().to_owned();
        let Some(template) = self.get(template) else { return said };
        let signed = |locale: &&str| {
            !template.manifest.approved.contains(*locale) && self.standing(template, locale).is_approved()
        };
        for locale in template.locales().filter(signed) {
            said.push('+');
            said.push_str(locale);
        }
        said
    }

    /// Whether a real message may be rendered from `locale`: it has the texts, and somebody answers for them.
    pub(super) fn is_usable(
        &self,
        template: &Template,
        locale: &str,
        channel: Channel,
        drafts: bool,
    ) -> bool {
        template.has(locale, channel) && (drafts || self.standing(template, locale).is_approved())
    }

    /// SHA-256 of all files, as hex; it stands on every message that was rendered from this set.
    #[must_use]
    pub fn bundle_hash(&self) -> &str {
        &self.bundle_hash
    }

    /// The template of that name.
    #[must_use]
    pub fn get(&self, name: &TemplateName) -> Option<&Template> {
        self.templates.get(name)
    }

    /// The texts that only point to the portal; `None` where the set was made without.
    #[must_use]
    pub fn pointer(&self) -> Option<&Template> {
        self.templates.values().find(|template| pointer::is_it(template))
    }

    /// The channels over which something can point to the portal.
    #[must_use]
    pub fn pointers(&self) -> &[Channel] {
        self.pointer().map_or(&[], |template| &template.manifest.channels)
    }

    /// All templates by name.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        self.templates.values()
    }

    pub(super) fn remarks(&self) -> &[Finding] {
        &self.remarks
    }

    pub(super) fn registry(&self, locale: &str, escape: Escape) -> Option<&Handlebars<'static>> {
        self.compiled.get(locale).map(|compiled| compiled.registry(escape))
    }
}

impl Template {
    /// Every locale that has at least one text.
    pub fn locales(&self) -> impl Iterator<Item = &str> {
        self.locales.keys().map(String::as_str)
    }

    /// Whether `locale` has all texts that `channel` needs.
    #[must_use]
    pub fn has(&self, locale: &str, channel: Channel) -> bool {
        self.locales.get(locale).is_some_and(|texts| texts.has(channel))
    }

    /// SHA-256 of all that is read in `locale`, as hex; `None` where there is nothing.
    #[must_use]
    pub fn hash(&self, locale: &str) -> Option<&str> {
        self.locales.get(locale).map(|texts| texts.hash.as_str())
    }

    pub(super) fn know_hashes(&mut self, hashes: BTreeMap<String, String>) {
        for (locale, hash) in hashes {
            if let Some(texts) = self.locales.get_mut(&locale) {
                texts.hash = hash;
            }
        }
    }

    /// The channels for which the default locale has texts.
    pub fn channels(&self) -> impl Iterator<Item = Channel> {
        Channel::ALL.iter().copied().filter(|&channel| self.has(&self.manifest.default_locale, channel))
    }

    /// The answers that its messages over `channel` offer, in the order of their digits.
    #[must_use]
    pub fn offers(&self, channel: Channel) -> &[Offer] {
        if self.asking.contains(&channel) { &self.manifest.answers } else { &[] }
    }

    pub(super) fn set_asking(&mut self, asking: BTreeSet<Channel>) {
        self.asking = asking;
    }

    /// The name under which a text is compiled; `None` where the locale lacks it.
    pub(super) fn text(&self, locale: &str, part: Part) -> Option<&str> {
        self.locales.get(locale)?.parts.get(&part).map(String::as_str)
    }

    /// Whether its messages may be put together: the template says so, and has a text for it.
    #[must_use]
    pub fn tells_together(&self) -> bool {
        self.manifest.digest && self.locales().any(|locale| self.text(locale, Part::Also).is_some())
    }

    pub(super) fn is_right_to_left(&self, locale: &str) -> bool {
        self.locales.get(locale).is_some_and(|texts| texts.tongue.right_to_left)
    }

    /// The `usable` locale whose texts a reader of `wish` (BCP-47) understands: the same tag, else the same language in
    /// the same script, of the same region where there is one.
    pub(super) fn locale_for(&self, wish: &str, usable: impl Fn(&str) -> bool) -> Option<&str> {
        if let Some((name, _)) = self.locales.get_key_value(wish).filter(|(name, _)| usable(name)) {
            return Some(name);
        }
        let wish = tongue(wish)?;
        let same = |texts: &LocaleTexts| {
            texts.tongue.language == wish.language && texts.tongue.script == wish.script
        };
        self.locales
            .iter()
            .filter(|(name, texts)| same(texts) && usable(name))
            .min_by_key(|(_, texts)| match &texts.tongue.region {
                region if *region == wish.region => 0,
                None => 1,
                Some(_) => 2,
            })
            .map(|(name, _)| name.as_str())
    }
}

impl LocaleTexts {
    fn has(&self, channel: Channel) -> bool {
        Part::needed(channel).iter().all(|part| self.parts.contains_key(part))
    }
}

/// A catalogue that can be replaced while it is in use.
#[derive(Debug)]
pub struct SharedCatalogue {
    dir: PathBuf,
    current: ArcSwap<Catalogue>,
}

impl SharedCatalogue {
    /// Loads `dir` for the first time.
    ///
    /// # Errors
    /// As [`Catalogue::load`].
    pub fn load(dir: impl Into<PathBuf>) -> Result<Self, Vec<Finding>> {
        let dir = dir.into();
        let current = ArcSwap::from_pointee(Catalogue::load(&dir)?);
        Ok(Self { dir, current })
    }

    /// Reads the folder again. Says whether anything has changed.
    ///
    /// # Errors
    /// As [`Catalogue::load`]; the set that was in use stays in use.
    pub fn reload(&self) -> Result<bool, Vec<Finding>> {
        let new = Catalogue::load(&self.dir)?;
        let changed = new.bundle_hash != self.current.load().bundle_hash;
        if changed {
            self.current.rcu(|old| Catalogue { sign_offs: old.sign_offs.clone(), ..new.clone() });
        }
        Ok(changed)
    }

    /// From now on these count as what people have signed off.
    pub fn heed(&self, sign_offs: &SignOffs) {
        if self.current.load().sign_offs.as_deref() != Some(sign_offs) {
            self.current.rcu(|old| old.with_sign_offs(sign_offs.clone()));
        }
    }

    /// The set in use. Keep it for one message, not for ever.
    #[must_use]
    pub fn current(&self) -> Arc<Catalogue> {
        self.current.load_full()
    }
}

/// Sorts the files into templates and checks that each is complete.
fn templates(files: &Files, findings: &mut Vec<Finding>) -> BTreeMap<TemplateName, Template> {
    let mut folders: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for (path, text) in files {
        match path.split_once('/') {
            Some((folder, _)) if folder.starts_with('_') => {}
            Some((folder, rest)) => folders.entry(folder).or_default().push((rest, text)),
            None => findings.push(stray(path)),
        }
    }
    folders.into_iter().filter_map(|(folder, contents)| template(folder, &contents, findings)).collect()
}

fn template(
    folder: &str,
    contents: &[(&str, &str)],
    findings: &mut Vec<Finding>,
) -> Option<(TemplateName, Template)> {
    let file = format!("{folder}/template.toml");
    let Some(name) = TemplateName::parse(folder) else {
        let cure = format!("name the folder with {}", TemplateName::RULE);
        findings.push(Finding::error(folder, None, "name", "the folder's name is no template name", cure));
        return None;
    };
    let mut locales: BTreeMap<String, LocaleTexts> = BTreeMap::new();
    for (path, _) in contents.iter().filter(|(path, _)| *path != "template.toml") {
        let Some((locale, tongue, part)) = placed(path) else {
            findings.push(stray(&format!("{folder}/{path}")));
            continue;
        };
        let texts = locales.entry(locale.to_owned()).or_insert(LocaleTexts {
            tongue,
            parts: BTreeMap::new(),
            hash: String::new(),
        });
        texts.parts.insert(part, format!("{name}/{part}"));
    }
    let Some((_, text)) = contents.iter().find(|(path, _)| *path == "template.toml") else {
        findings.push(Finding::error(&file, None, "manifest", "is missing", "add template.toml"));
        return None;
    };
    match Manifest::parse(&file, text) {
        Ok(manifest) => {
            let template = Template { name: name.clone(), manifest, locales, asking: BTreeSet::new() };
            complete(&template, &file, findings);
            pointer::check(&template, &file, findings);
            Some((name, template))
        }
        Err(faults) => {
            findings.extend(faults);
            None
        }
    }
}

/// `locale/part.hbs`.
fn placed(path: &str) -> Option<(&str, Tongue, Part)> {
    let (locale, file) = path.split_once('/')?;
    Some((locale, tongue(locale)?.as_ref().clone(), Part::from_word(file.strip_suffix(".hbs")?)?))
}

fn stray(path: &str) -> Finding {
    let known = Part::ALL.iter().map(|part| format!("{part}.hbs")).collect::<Vec<_>>().join(", ");
    let cure = format!("use NAME/template.toml and NAME/LOCALE/ with {known}, or _partials/ and _layouts/");
    Finding::error(path, None, "stray-file", "is no file of a template", cure)
}

fn complete(template: &Template, file: &str, findings: &mut Vec<Finding>) {
    let manifest = &template.manifest;
    let mut missing = |path: String, cure: &str| {
        findings.push(Finding::error(&path, None, "missing-text", "is missing", cure));
    };
    for &channel in &manifest.channels {
        let locale = &manifest.default_locale;
        for &part in Part::needed(channel) {
            if template.text(locale, part).is_none() {
                let cure = "the default locale needs every channel that template.toml lists";
                missing(format!("{}/{locale}/{part}.hbs", template.name), cure);
            }
        }
    }
    for locale in template.locales() {
        let has = |part| template.text(locale, part).is_some();
        let path = |part: Part| format!("{}/{locale}/{part}.hbs", template.name);
        let email = Part::needed(Channel::Email);
        if email.iter().any(|&part| has(part)) {
            for &part in email.iter().filter(|&&part| !has(part)) {
                missing(path(part), "an email needs subject, html and txt");
            }
        }
        if has(Part::SmsShort) && !has(Part::Sms) {
            missing(path(Part::Sms), "sms.short stands in for it and cannot stand alone");
        }
        if has(Part::AlsoLong) && !has(Part::Also) {
            missing(
                path(Part::Also),
                "also.long stands in for it in mails and calls, and cannot stand alone",
            );
        }
        if has(Part::Voicemail) && !has(Part::Voice) {
            missing(path(Part::Voice), "voicemail goes with it and cannot stand alone");
        }
        if has(Part::Portal) && !has(Part::PortalSubject) && !has(Part::EmailSubject) {
            missing(path(Part::PortalSubject), "a portal message needs a subject");
        }
    }
    let known: BTreeSet<&str> = template.locales().collect();
    for locale in manifest.approved.iter().chain([&manifest.default_locale]) {
        if !known.contains(locale.as_str()) {
            let message = format!("names the locale {locale}, which has no texts");
            findings.push(Finding::error(
                file,
                None,
                "unknown-locale",
                message,
                "add the folder, or correct the name",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use handlebars::Template as Text;

    use super::super::context::context;
    use super::super::preview::Sample;
    use super::super::render::RenderRequest;
    use super::super::site::{RecipientContext, SiteContext};
    use super::*;
    use crate::domain::patient::Name;
    use crate::domain::phi::Phi;
    use crate::domain::words::Recipient;

    /// The same set, its partials left to the engine.
    fn with_named_partials(files: &Files) -> Catalogue {
        let mut catalogue = Catalogue::from_files(files).unwrap();
        let compiled = Arc::get_mut(&mut catalogue.compiled).unwrap();
        for (path, source) in files {
            let (folder, rest) = path.split_once('/').unwrap();
            let Some((locale, _, part)) = placed(rest).filter(|_| !folder.starts_with('_')) else { continue };
            let text = Text::compile(source).unwrap();
            compiled.get_mut(locale).unwrap().add(&format!("{folder}/{part}"), part, text);
        }
        catalogue
    }

    #[test]
    fn partials_that_are_put_in_read_as_the_engine_expands_them() {
        let files = files::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")).unwrap();
        let (put_in, named) = (Catalogue::from_files(&files).unwrap(), with_named_partials(&files));
        let (ana, luis) = (name("Ana", "Rivera"), name("Luis", "Rivera"));
        let (clinic, nowhere) = (SiteContext::sample(), SiteContext::default());
        let proxy = |relationship| RecipientContext {
            kind: Recipient::Proxy,
            name: Some(&luis),
            relationship: Some(relationship),
            ..RecipientContext::PATIENT
        };
        let two = ["one".to_owned(), "two".to_owned()];
        let (none, two) = (&two[..0], &two[..]);
        let mut shown = 0;
        for template in put_in.templates() {
            for sample in [Sample::Typical, Sample::Longest, Sample::Least] {
                let data = template.manifest.sample_data(sample);
                let bare = RenderRequest {
                    template: &template.name,
                    channel: Channel::Sms,
                    languages: &[],
                    data: &data,
                    patient: None,
                    recipient: RecipientContext::PATIENT,
                    site: Some(&nowhere),
                    organisation: "Lakeside Health",
                    is_change: false,
                    test: false,
                    drafts: true,
                    keypad: false,
                    mailbox: false,
                    digits: &[],
                    unsubscribe_url: None,
                    region: Some("US"),
                };
                let full = RenderRequest {
                    patient: Some(&ana),
                    site: Some(&clinic),
                    is_change: true,
                    keypad: true,
                    mailbox: true,
                    unsubscribe_url: Some("https://outreach.example.org/u/sample"),
                    ..bare
                };
                for (request, also) in [
                    (bare, none),
                    (full, two),
                    (RenderRequest { recipient: proxy("father"), ..full }, none),
                    (RenderRequest { recipient: proxy("daughter"), ..full }, two),
                    (RenderRequest { recipient: proxy("daughter"), ..bare }, none),
                ] {
                    for (locale, texts) in &template.locales {
                        let context = context(&request, also, template, locale, locale);
                        for (part, name) in &texts.parts {
                            let read = |catalogue: &Catalogue| {
                                let registry = catalogue.registry(locale, part.escape()).unwrap();
                                let text = registry.render_with_context(name, &context);
                                text.map_err(|error| error.reason().to_string())
                            };
                            let text = read(&put_in);
                            assert_eq!(text, read(&named), "{name} {locale} {sample} {request:?}");
                            shown += u32::from(text.is_ok());
                        }
                    }
                }
            }
        }
        assert!(shown > 1_500, "{shown} texts were compared");
    }

    #[test]
    fn every_partial_of_the_shipped_texts_is_put_in() {
        let files = files::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")).unwrap();
        let (put_in, named) = (Catalogue::from_files(&files).unwrap(), with_named_partials(&files));
        let calls = |catalogue: &Catalogue| {
            let texts = catalogue.templates().flat_map(|template| {
                template.locales.iter().flat_map(|(locale, texts)| {
                    texts.parts.iter().map(move |(part, name)| (locale, part, name))
                })
            });
            let calls = texts.map(|(locale, part, name)| {
                let registry = catalogue.registry(locale, part.escape()).unwrap();
                let text = format!("{:?}", registry.get_template(name).unwrap());
                text.matches("PartialExpression").count()
            });
            calls.sum::<usize>()
        };
        assert_eq!(calls(&put_in), 0);
        assert!(calls(&named) > 100, "{}", calls(&named));
    }

    fn name(given: &str, family: &str) -> Name {
        Name { given: Some(Phi::new(given)), family: Some(Phi::new(family)) }
    }
}
