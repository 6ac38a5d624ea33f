//! Templates: what a message says, per channel and language.
//!
//! A template is a folder: `template.toml` (what it is for, which variables it takes) and one folder per locale
//! with one Handlebars text per channel. A [`Catalogue`] is loaded and checked as a whole, compiled once, and
//! renders in microseconds. Real messages are made only of texts that somebody answers for: the template's file names
//! the locale, or people have signed off exactly these texts ([`crate::policy::sign_off`]). Three promises hold whatever
//! the data:
//!
//! - **Data is never evaluated.** `{{ }}` in a value is text. Values are escaped for the channel they go to.
//! - **No message with a hole in it.** A missing, null, mistyped or undeclared variable refuses the message and
//!   names the field.
//! - **Bounded.** Texts, lists, names and output have limits; a text that is too long for its channel is refused
//!   as `too_long`, so that the next channel can be tried.

mod alphabet;
mod answers;
mod catalogue;
mod compile;
mod context;
mod data;
mod files;
mod finding;
mod formatters;
mod helpers;
mod inline;
mod lint;
mod manifest;
mod part;
mod phrases;
mod plan;
mod pointer;
mod preview;
mod render;
mod scan;
mod section;
mod segments;
mod site;
mod variable;

pub use alphabet::Alphabet;
pub use catalogue::{Catalogue, SharedCatalogue, Template};
pub use finding::{Finding, Severity};
pub use formatters::reads;
pub use helpers::show_phone;
pub use lint::{LintOptions, lint};
pub use manifest::{ChannelLimits, Manifest, OnMissingLocale, Within};
pub use part::Part;
pub use plan::{Plan, PlanMode};
pub use preview::{Preview, Sample, preview};
pub use render::{RenderError, RenderRequest, Rendered};
pub use segments::{Encoding, Segments, segments};
pub use site::{RecipientContext, SiteContext};
pub use variable::{Kind, Variable};
