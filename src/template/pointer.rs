//! The template that points to the portal. It goes where a message's own text is too much for the channel, for whoever
//! carries it or for the contact, once the portal has that text. It comes with the program, so that it is there whatever
//! the folder holds; a folder of its name below the templates takes its place as a whole, with words and languages of its
//! own. It stands in for messages of every kind, and so knows nothing of any: it has no variables.

use crate::domain::words::{Channel, PhiClass};

use super::catalogue::Template;
use super::files::Files;
use super::finding::Finding;

/// Its folder.
pub(super) const NAME: &str = "portal-pointer";

macro_rules! shipped {
    ($($path:literal),+ $(,)?) => {
        /// Every file by its path below its folder.
        const SHIPPED: &[(&str, &str)] = &[$((
            $path,
            include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/portal-pointer/", $path)),
        )),+];
    };
}

shipped! {
    "en/email.html.hbs",
    "en/email.subject.hbs",
    "en/email.txt.hbs",
    "en/sms.hbs",
    "en/voice.hbs",
    "en/voicemail.hbs",
    "es/email.html.hbs",
    "es/email.subject.hbs",
    "es/email.txt.hbs",
    "es/sms.hbs",
    "es/voice.hbs",
    "es/voicemail.hbs",
    "template.toml",
    "zh-Hans/email.html.hbs",
    "zh-Hans/email.subject.hbs",
    "zh-Hans/email.txt.hbs",
    "zh-Hans/sms.hbs",
    "zh-Hans/voice.hbs",
    "zh-Hans/voicemail.hbs",
}

/// Puts it beside what a folder holds, unless that has one of its own.
pub(super) fn supply(files: &mut Files) {
    let own = |path: &String| path.split_once('/').is_some_and(|(folder, _)| folder == NAME);
    if !files.keys().any(own) {
        files.extend(SHIPPED.iter().map(|(path, text)| (format!("{NAME}/{path}"), (*text).to_owned())));
    }
}

pub(super) fn is_it(template: &Template) -> bool {
    template.name.as_str() == NAME
}

/// What a folder of its own must keep to.
pub(super) fn check(template: &Template, file: &str, findings: &mut Vec<Finding>) {
    if !is_it(template) {
        return;
    }
    let manifest = &template.manifest;
    let mut fault = |message: &str, cure: &str| {
        findings.push(Finding::error(file, None, "pointer", message, cure));
    };
    if manifest.channels.contains(&Channel::Portal) {
        fault("lists portal, to which it points", "leave portal out of `channels`");
    }
    if manifest.channels.iter().any(|channel| manifest.phi(*channel) > PhiClass::Minimal) {
        fault("goes where nothing else may: its texts must reveal nothing", "write phi = \"minimal\"");
    }
    if !manifest.variables.is_empty() || !manifest.answers.is_empty() {
        let cure = "remove `variables` and `answers`, and what uses them";
        fault("stands in for every message, and knows the data of none", cure);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::super::files;
    use super::*;

    #[test]
    fn every_file_of_it_is_in_the_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("templates").join(NAME);
        let found: BTreeSet<String> = files::read(&folder).unwrap().into_keys().collect();
        let listed: BTreeSet<String> = SHIPPED.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, found, "list it in src/template/pointer.rs");
    }

    #[test]
    fn a_folder_of_its_name_takes_its_place() {
        let mut none = Files::new();
        supply(&mut none);
        assert_eq!(none.len(), SHIPPED.len());
        let mut own = Files::from([("portal-pointer/en/sms.hbs".to_owned(), String::new())]);
        supply(&mut own);
        assert_eq!(own.len(), 1);
    }
}
