//! Why a command did not do what it was asked to, with the cure.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::app::AppError;
use crate::config::ConfigFault;
use crate::domain::problem::Problem;
use crate::store::{OtherKey, StoreError, way_back};
use crate::template::Finding;

/// Why a command failed. Nothing in it is PHI: it is written to standard error.
#[derive(Debug)]
pub(super) enum Failure {
    /// What is wrong and what to do about it.
    Said { what: String, cure: String },
    /// Everything that is wrong with the configuration.
    Config(Vec<ConfigFault>),
    /// Everything that is wrong with the templates.
    Templates(Vec<Finding>),
    /// Everything that is wrong with an input.
    Input(Vec<Problem>),
    /// The command's output has said what failed.
    Reported,
    /// For a caller that knows what went wrong by the exit code.
    Coded(ExitCode, Box<Failure>),
    /// The output could not be written.
    Output(io::Error),
}

impl Failure {
    /// A failure in one sentence, and its cure in another.
    pub(super) fn said(what: impl Display, cure: impl Into<String>) -> Self {
        Self::Said { what: what.to_string(), cure: cure.into() }
    }

    /// A file that could not be read.
    pub(super) fn file(path: &Path, error: &io::Error) -> Self {
        Self::said(
            format!("{}: {}", path.display(), error.kind()),
            "name a file that exists and that you may read; `-` is standard input",
        )
    }

    /// A file that could not be written.
    pub(super) fn unwritten(path: &Path, error: &io::Error) -> Self {
        Self::said(
            format!("{}: {}", path.display(), error.kind()),
            "name a place in a folder that exists, where you may write and where there is room",
        )
    }

    /// Says it on standard error; answers the exit code.
    pub(super) fn report(&self) -> ExitCode {
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            // Whoever read has had enough, as in `outreachd messages list | head`. Shells know 141 as SIGPIPE.
            return ExitCode::from(141);
        }
        let mut to = io::stderr().lock();
        // There is nobody left to tell should standard error be closed.
        let _ = self.write(&mut to);
        if let Self::Coded(code, _) = self { *code } else { ExitCode::FAILURE }
    }

    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        match self {
            Self::Said { what, cure } => writeln!(to, "outreachd: {what}\n  cure: {cure}"),
            Self::Config(faults) => {
                writeln!(to, "outreachd: the configuration has {} faults", faults.len())?;
                faults.iter().try_for_each(|fault| writeln!(to, "  {fault}"))
            }
            Self::Templates(findings) => {
                writeln!(to, "outreachd: the templates have faults")?;
                findings.iter().try_for_each(|finding| writeln!(to, "  {finding}"))
            }
            Self::Input(problems) => {
                writeln!(to, "outreachd: the input cannot be read")?;
                problems.iter().try_for_each(|problem| writeln!(to, "  {problem}"))
            }
            Self::Reported => Ok(()),
            Self::Coded(_, failure) => failure.write(to),
            Self::Output(error) => writeln!(to, "outreachd: the output cannot be written ({})", error.kind()),
        }
    }
}

impl From<io::Error> for Failure {
    /// Of the output only: files are told by [`Failure::file`] and [`Failure::unwritten`].
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let cure = store_cure(&error);
        Self::said(error, cure)
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Store(error) => error.into(),
            AppError::Templates(findings) => Self::Templates(findings),
            AppError::Listen { section, .. } => {
                let cure = format!("end what uses the port (`ss -ltnp` shows it), or set [{section}] listen");
                Self::said(error, cure)
            }
            other => {
                Self::said(other, "correct the configuration; `outreachd check` tells all that is wrong")
            }
        }
    }
}

/// What to do about a ledger that did not do it.
pub(super) fn store_cure(error: &StoreError) -> &'static str {
    match error {
        StoreError::Unavailable(why) => way_back(why).unwrap_or("start the database, or correct [store] url"),
        StoreError::Contention => "run the command again",
        StoreError::Schema(_) => "run `outreachd migrate`, with the newest outreachd that uses this ledger",
        StoreError::Key(OtherKey::Ledger) => {
            "give the key that the ledger was begun with (compose: secrets/ledger_key)"
        }
        StoreError::Key(OtherKey::Value(_)) => {
            "give this program the key that sealed it: [security] key, or a line of seal_keys_file"
        }
        StoreError::Data(_) => "look for characters that do not belong into the input",
        StoreError::Internal(_) => "report this to the maintainers, with the command",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_has_a_cure_of_its_own() {
        let told = |failure: Failure| {
            let mut told = Vec::new();
            failure.write(&mut told).unwrap();
            String::from_utf8(told).unwrap()
        };
        let (path, missing) = (Path::new("nowhere/a.csv"), io::Error::from(io::ErrorKind::NotFound));
        let (read, written) = (told(Failure::file(path, &missing)), told(Failure::unwritten(path, &missing)));
        for text in [&read, &written] {
            assert!(text.starts_with("outreachd: nowhere/a.csv: entity not found\n  cure: "), "{text}");
        }
        assert!(read.contains("a file that exists") && read.contains("standard input"), "{read}");
        assert!(written.contains("a folder that exists") && written.contains("there is room"), "{written}");
        assert!(!written.contains("standard input"), "{written}");
    }
}
