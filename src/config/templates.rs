//! `[templates]`: where the texts are.

use std::path::PathBuf;

use super::read::Section;
use super::rules;

/// The templates' folder.
#[derive(Clone, Debug)]
pub struct TemplatesSection {
    /// Absolute, or as given from the working directory.
    pub dir: PathBuf,
}

impl TemplatesSection {
    pub(super) fn read(s: &mut Section<'_>) -> Self {
        let dir = s.or("dir", rules::PATH, PathBuf::from("templates"));
        Self { dir: s.context.cwd.join(dir) }
    }
}
