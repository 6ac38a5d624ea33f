//! What is wrong with the settings, all of it at once.

use super::config::SimulatorConfig;

/// A setting that cannot work, with the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct ConfigFault {
    /// Dotted path of the field.
    pub field: String,
    /// What it must be.
    pub rule: &'static str,
}

impl ConfigFault {
    fn new(field: impl Into<String>, rule: &'static str) -> Self {
        Self { field: field.into(), rule }
    }
}

impl SimulatorConfig {
    /// Everything that is wrong, at once.
    ///
    /// # Errors
    /// The faults found, in the order of the fields.
    pub fn check(&self) -> Result<(), Vec<ConfigFault>> {
        let mut faults = Vec::new();
        for (field, address) in [("http_listen", self.http_listen), ("smtp_listen", self.smtp_listen)] {
            if !address.ip().is_loopback() {
                faults.push(ConfigFault::new(field, "must be a loopback address: use 127.0.0.1:0"));
            }
        }
        if self.fhir.keep_resources == 0 {
            faults.push(ConfigFault::new("fhir.keep_resources", "must be at least 1"));
        }
        if self.smtp.username.is_some() != self.smtp.password.is_some() {
            faults.push(ConfigFault::new("smtp.password", "username and password go together: give both"));
        }
        if self.receipts.max_in_flight == 0 {
            faults.push(ConfigFault::new("receipts.max_in_flight", "must be at least 1"));
        }
        if self.audit_every == 0 {
            faults.push(ConfigFault::new("audit_every", "must be at least 1"));
        }
        check_shares(&mut faults, "receipts", &self.receipt_ends());
        check_shares(&mut faults, "calls", &self.call_ends());
        check_shares(&mut faults, "answers", &self.answer_kinds());
        for (field, share) in self.single_shares() {
            check_shares(&mut faults, field, &[share]);
        }
        check_shares(&mut faults, "faults", &self.faults.shares());
        for (kind, of_kind) in &self.faults_for {
            check_shares(&mut faults, &format!("faults_for.{}", kind.as_str()), &of_kind.shares());
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    fn receipt_ends(&self) -> [f64; 3] {
        [self.receipts.undelivered, self.receipts.failed, self.receipts.silent]
    }

    fn call_ends(&self) -> [f64; 4] {
        [self.calls.busy, self.calls.no_answer, self.calls.failed, self.calls.machine]
    }

    fn answer_kinds(&self) -> [f64; 6] {
        let a = &self.answers;
        [a.yes, a.no, a.stop, a.wrong_number, a.help, a.text]
    }

    fn single_shares(&self) -> [(&'static str, f64); 5] {
        [
            ("receipts.late", self.receipts.late),
            ("receipts.repeated", self.receipts.repeated),
            ("receipts.lying", self.receipts.lying),
            ("receipts.shuffled", self.receipts.shuffled),
            ("calls.pressing", self.calls.pressing),
        ]
    }
}

/// Shares of one whole: each in 0..=1, and not more than 1 together.
pub(super) fn check_shares(faults: &mut Vec<ConfigFault>, field: &str, shares: &[f64]) {
    if shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
        faults.push(ConfigFault::new(field, "a share must be between 0 and 1"));
    } else if shares.iter().sum::<f64>() > 1.0 + 1e-9 {
        faults.push(ConfigFault::new(field, "the shares must not add up to more than 1: lower one"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::config::Receipts;
    use crate::simulator::faults::Faults;

    #[test]
    fn every_fault_is_reported_at_once() {
        let config = SimulatorConfig {
            http_listen: "0.0.0.0:80".parse().unwrap(),
            faults: Faults { throttled: 0.7, lost: 0.7, ..Faults::default() },
            receipts: Receipts { late: 2.0, ..Receipts::default() },
            ..SimulatorConfig::default()
        };
        let fields: Vec<String> = config.check().unwrap_err().into_iter().map(|f| f.field).collect();
        assert_eq!(fields, ["http_listen", "receipts.late", "faults"]);
    }
}
