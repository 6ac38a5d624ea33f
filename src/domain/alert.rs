//! What can be wrong with the whole of it, and what people have been told of it. Ids of ours and counts: nothing here
//! belongs to a patient.

use jiff::Timestamp;
use serde::Serialize;

use super::words::words;

words! {
    /// How bad it is.
    Level {
        /// Patients wait, or nobody knows whether they do: somebody is woken.
        Bad = "bad",
        /// Somebody should look at it today.
        Look = "look",
    }
}

words! {
    /// What is wrong, the most urgent first. Each has a heading of its name in `deploy/runbook.md`.
    Trouble {
        NoWorker = "no_worker",
        /// A patient wrote words of danger, and it is not closed.
        SafetyUnread = "safety_unread",
        /// Everything is under a hold.
        Stopped = "stopped",
        /// No provider can be used for a channel.
        ChannelOut = "channel_out",
        BrokerAway = "broker_away",
        UrgentLate = "urgent_late",
        WorkOverdue = "work_overdue",
        /// Far more than usual was asked for, and is held.
        SurgeHeld = "surge_held",
        /// A campaign has stopped by itself.
        CampaignPaused = "campaign_paused",
        BacklogOld = "backlog_old",
        /// A provider fails and is left alone, or is on trial.
        BreakerOpen = "breaker_open",
        /// A provider takes messages, and its receipts say that they do not arrive.
        ReceiptsFailing = "receipts_failing",
        DeadJobs = "dead_jobs",
        /// Results that a source's receiver did not take.
        ResultsDead = "results_dead",
        EventsWait = "events_wait",
        OutcomeUnknown = "outcome_unknown",
        WorkOpen = "work_open",
    }
}

impl Trouble {
    /// Whether people on call are told: the others are the daily work.
    #[must_use]
    pub const fn is_told(self) -> bool {
        !matches!(self, Self::OutcomeUnknown | Self::WorkOpen)
    }

    /// Whether it was somebody's own doing: whoever did it need not be told, but it may be forgotten. It is told once it has
    /// stood for as long as lies between two tellings, and wakes nobody.
    #[must_use]
    pub const fn may_be_forgotten(self) -> bool {
        matches!(self, Self::Stopped)
    }

    /// Whether it may come and go by itself within minutes: then it is told, and told as over, only once it has lasted.
    #[must_use]
    pub const fn may_pass(self) -> bool {
        matches!(
            self,
            Self::NoWorker
                | Self::ChannelOut
                | Self::BrokerAway
                | Self::UrgentLate
                | Self::BacklogOld
                | Self::BreakerOpen
                | Self::ReceiptsFailing
                | Self::EventsWait
        )
    }

    /// What to do first, in one line; the runbook says more.
    #[must_use]
    pub const fn first_step(self) -> &'static str {
        match self {
            Self::NoWorker => "start the service; its log says why it ended. Jobs wait, nothing is lost",
            Self::SafetyUnread => {
                "open Work, or `outreachd work list --kind safety`: read it now, call the patient"
            }
            Self::Stopped => {
                "see Holds, or `outreachd holds`: once its cause is mended, `outreachd release ID`"
            }
            Self::ChannelOut => "see the providers' own status pages; messages wait and are kept",
            Self::BrokerAway => "see RabbitMQ; outreachd comes back by itself once it answers",
            Self::UrgentLate => "see Now and Providers: a hold, a limit or a provider is in the way",
            Self::WorkOverdue => "open Work and claim it",
            Self::SurgeHeld => {
                "see Holds, or `outreachd holds`: let it go out with `outreachd release ID`, or drop it with --drop"
            }
            Self::CampaignPaused => "open the campaign: correct it, resume it or end it",
            Self::BacklogOld => "see Now and Providers: a hold, a limit or a provider is in the way",
            Self::BreakerOpen => "see Providers and the provider's own status page; others carry its share",
            Self::ReceiptsFailing => "see the log by provider; ask the provider, or take it out of service",
            Self::DeadJobs => "open Dead jobs: put right what is wrong, then replay",
            Self::ResultsDead => "mend the receiver, then outreachd callbacks retry",
            Self::EventsWait => "see RabbitMQ; results are told in order once it takes them",
            Self::OutcomeUnknown => "look them up at the provider before trying any again",
            Self::WorkOpen => "open Work",
        }
    }

    /// The console's page that shows more.
    #[must_use]
    pub const fn page(self) -> &'static str {
        match self {
            Self::NoWorker | Self::ChannelOut | Self::BreakerOpen => "providers",
            Self::SafetyUnread | Self::WorkOverdue | Self::WorkOpen => "work",
            Self::Stopped | Self::SurgeHeld => "holds",
            Self::BrokerAway | Self::EventsWait | Self::ResultsDead => "now",
            Self::UrgentLate | Self::BacklogOld | Self::ReceiptsFailing | Self::OutcomeUnknown => "log",
            Self::CampaignPaused => "campaigns",
            Self::DeadJobs => "dead",
        }
    }
}

words! {
    /// What is told of an alert.
    Telling {
        Raised = "raised",
        /// It still stands, and nobody has acknowledged it.
        Again = "again",
        Cleared = "cleared",
    }
}

/// How people on call are told. Each mailbox is told by itself: that one took it says nothing of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    Webhook,
    /// By its place in the list of mailboxes.
    Email(u16),
}

impl Way {
    /// The kind of way, as the ledger and the measures name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Email(_) => "email",
        }
    }
}

impl std::fmt::Display for Way {
    /// `webhook`, or `email 2` for the second mailbox of the list.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Webhook => f.write_str("webhook"),
            Self::Email(place) => write!(f, "email {}", u32::from(*place) + 1),
        }
    }
}

/// One thing that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(rename = "kind")]
    pub trouble: Trouble,
    /// Which provider, channel, source, campaign, hold or work item; empty: the whole.
    pub subject: String,
    pub level: Level,
    /// What it is, in words of ours.
    pub what: String,
    /// How many things are wrong; 1 where nothing is counted.
    pub extent: u64,
}

impl Finding {
    /// The same for the same trouble with the same thing.
    #[must_use]
    pub fn key(&self) -> String {
        if self.subject.is_empty() {
            self.trouble.to_string()
        } else {
            format!("{}:{}", self.trouble, self.subject)
        }
    }

    /// How urgently it is told.
    #[must_use]
    pub const fn told_as(&self) -> Level {
        if self.trouble.may_be_forgotten() { Level::Look } else { self.level }
    }

    /// The console's page that shows more, with what it is about chosen there: `work?kind=safety`.
    #[must_use]
    pub fn link(&self) -> String {
        let page = self.trouble.page();
        match self.trouble {
            Trouble::SafetyUnread => format!("{page}?kind=safety"),
            Trouble::WorkOverdue => format!("{page}?kind={}", self.subject),
            Trouble::ReceiptsFailing => format!("{page}?provider={}", self.subject),
            Trouble::OutcomeUnknown => format!("{page}?status=unknown"),
            _ => page.to_owned(),
        }
    }
}

/// What has been wrong for a while, and what people were told and said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alert {
    pub key: String,
    #[serde(flatten)]
    pub finding: Finding,
    pub since: Timestamp,
    /// It was not found any more since then.
    pub gone_since: Option<Timestamp>,
    /// It is over.
    pub ended_at: Option<Timestamp>,
    /// When people were last told of it; `None`: they were not.
    pub told_at: Option<Timestamp>,
    /// What is still to be told, and how.
    #[serde(skip)]
    pub owed: Option<(Telling, Vec<Way>)>,
    /// Since when something is owed without a pause.
    pub owed_since: Option<Timestamp>,
    pub acknowledged_by: Option<String>,
    pub acknowledged_at: Option<Timestamp>,
    /// With so many it is another matter than the one that was acknowledged.
    pub acknowledged_below: Option<u64>,
    pub snoozed_by: Option<String>,
    /// Nothing is told of it before then.
    pub snoozed_until: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever is woken is led somewhere.
    #[test]
    fn every_trouble_has_its_place_in_the_runbook() {
        const RUNBOOK: &str = include_str!("../../deploy/runbook.md");
        let headings: Vec<&str> = RUNBOOK.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        let troubles: Vec<&str> = Trouble::ALL.iter().map(|trouble| trouble.as_str()).collect();
        assert_eq!(headings, troubles);
    }
}
