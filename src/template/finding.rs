//! What is wrong with a template file, said so that its author can mend it.

use std::fmt;

use crate::domain::words::words;

words! {
    /// How bad a finding is.
    Severity {
        /// The set is not loaded, or must not be sent.
        Error = "error",
        /// Worth a look before it is sent.
        Warning = "warning",
        /// A figure, such as segments and cost.
        Info = "info",
    }
}

/// One remark about one file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// Path below the templates folder, with `/`; the folder itself where that cannot be read.
    pub file: String,
    /// Counted from 1; `None` where it is about the whole file.
    pub line: Option<usize>,
    pub severity: Severity,
    /// A stable short name, such as `unknown-variable`.
    pub rule: &'static str,
    /// What was found.
    pub message: String,
    /// What to do about it.
    pub cure: String,
}

impl Finding {
    /// An error.
    pub fn error(
        file: &str,
        line: Option<usize>,
        rule: &'static str,
        message: impl Into<String>,
        cure: impl Into<String>,
    ) -> Self {
        let (message, cure) = (message.into(), cure.into());
        Self { file: file.to_owned(), line, severity: Severity::Error, rule, message, cure }
    }

    /// The same remark, less severe.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {} [{}] {}; {}", self.severity, self.rule, self.message, self.cure)
    }
}
