//! The closed vocabularies that callers, configuration, the ledger and the console share.
//!
//! Each is one enum with one spelling: the word in JSON, in TOML, in the ledger and on screen is the same.

use super::reply::Intent;

/// Declares a closed set of words: the enum, its spelling, and the way back from text.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every word, in declaration order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The one spelling of this word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The word for `text`, if it is one of the set.
            #[must_use]
            pub fn from_word(text: &str) -> Option<Self> {
                match text { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
                Self::from_word(&text).ok_or_else(|| {
                    serde::de::Error::custom(concat!("must be one of: ", $($text, " "),+))
                })
            }
        }
    };
}
pub(crate) use words;

words! {
    /// A way to reach a person.
    Channel { Sms = "sms", Email = "email", Portal = "portal", Voice = "voice" }
}

words! {
    /// Why the message is sent. Consent, caps and hours hang on it.
    Purpose {
        Appointment = "appointment", Care = "care", Results = "results", Billing = "billing",
        Prevention = "prevention", Survey = "survey", Marketing = "marketing", Emergency = "emergency",
    }
}

words! {
    /// Which messages go first. The order of declaration is the order of service.
    Priority { Urgent = "urgent", Normal = "normal", Bulk = "bulk" }
}

words! {
    /// How much protected health information a text may hold.
    PhiClass {
        /// Nothing that tells more than "your clinic has something for you".
        Minimal = "minimal",
        /// A visit's time, place and practitioner.
        Limited = "limited",
        /// Diagnoses, results, medication.
        Sensitive = "sensitive",
    }
}

words! {
    /// Whether anything may leave this process.
    SafetyMode { Capture = "capture", AllowList = "allow_list", Live = "live" }
}

words! {
    /// How a contact stands, as far as anyone knows.
    ContactStatus { Ok = "ok", Bad = "bad", Wrong = "wrong", Reassigned = "reassigned" }
}

words! {
    /// What a proxy may do for the patient.
    Authority { Guardian = "guardian", Caregiver = "caregiver", HealthcareProxy = "healthcare_proxy" }
}

words! {
    /// Whether the proxy is written to in the patient's place or as well.
    ProxyMode { Instead = "instead", Also = "also" }
}

words! {
    /// Who is being written to.
    Recipient { Patient = "patient", Proxy = "proxy" }
}

words! {
    /// Why a message is where it is. A closed list: dashboards, events and `explain` all speak it.
    Reason {
        UnknownPatient = "unknown_patient", Inactive = "inactive", Deceased = "deceased",
        DoNotContact = "do_not_contact", Paused = "paused", OptedOut = "opted_out", NoConsent = "no_consent",
        NoContact = "no_contact", NoProxy = "no_proxy", ConfidentialContact = "confidential_contact",
        SharedContact = "shared_contact", InvalidAddress = "invalid_address", Landline = "landline",
        WrongNumber = "wrong_number", Reassigned = "reassigned", ContactUnverified = "contact_unverified",
        MailboxFull = "mailbox_full", Unreachable = "unreachable", NoAnswer = "no_answer",
        CarrierBlocked = "carrier_blocked", Complaint = "complaint", ProviderRejected = "provider_rejected",
        ProviderUnavailable = "provider_unavailable", ProviderMisconfigured = "provider_misconfigured",
        OutcomeUnknown = "outcome_unknown", QuietHours = "quiet_hours", FrequencyCap = "frequency_cap",
        SurgeHold = "surge_hold", OperatorHold = "operator_hold", Paced = "paced", Superseded = "superseded",
        Merged = "merged", Cancelled = "cancelled", TooLate = "too_late", NoLongerNeeded = "no_longer_needed",
        Expired = "expired", Duplicate = "duplicate", Conflict = "conflict", Malformed = "malformed",
        UnknownTemplate = "unknown_template", UnknownSource = "unknown_source",
        SourceNotAllowed = "source_not_allowed", BadData = "bad_data", TemplateError = "template_error",
        NoTranslation = "no_translation", TooLong = "too_long", SensitiveContent = "sensitive_content",
        CountryNotAllowed = "country_not_allowed", OverBudget = "over_budget", PlanExhausted = "plan_exhausted",
        DeliveryLimit = "delivery_limit", CampaignPaused = "campaign_paused",
        AwaitingApproval = "awaiting_approval", SafetyMode = "safety_mode",
    }
}

impl Reason {
    /// Whether a message that is not sent for it is left to people: the patient shall hear of it, and no contact on record
    /// may have it.
    #[must_use]
    pub const fn asks_for_people(self) -> bool {
        matches!(
            self,
            Self::NoContact
                | Self::ConfidentialContact
                | Self::SharedContact
                | Self::SensitiveContent
                | Self::ContactUnverified
        )
    }
}

words! {
    /// What a person has to look after.
    WorkKind {
        /// Every route to the patient was tried, none was left, no contact of theirs may have it, or what is on record
        /// cannot be read.
        PlanExhausted = "plan_exhausted",
        /// Nobody knows whether it arrived, and no news came in time.
        OutcomeUnknown = "outcome_unknown",
        /// A mail came back that was told as delivered.
        CameBack = "came_back",
        /// An urgent message was not acknowledged by its template's deadline.
        Unacknowledged = "unacknowledged",
        /// A source or a template asked for far more than it ever does; what it asks for is held.
        SurgeHold = "surge_hold",
        /// A hold has ended, and what it held waits for a person's word.
        HoldReview = "hold_review",
        /// A patient wrote something that a person must read.
        Reply = "reply",
        /// A patient wrote words of danger.
        Safety = "safety",
        /// A patient wrote, perhaps, that a visit is off.
        MaybeCancelVisit = "maybe_cancel_visit",
    }
}

impl WorkKind {
    /// What its events give as the reason; `None`: what a patient wrote, which has an intent instead.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::PlanExhausted => Some(Reason::PlanExhausted),
            Self::OutcomeUnknown => Some(Reason::OutcomeUnknown),
            Self::CameBack => Some(Reason::Unreachable),
            Self::Unacknowledged => Some(Reason::NoAnswer),
            Self::SurgeHold => Some(Reason::SurgeHold),
            Self::HoldReview => Some(Reason::OperatorHold),
            Self::Reply | Self::Safety | Self::MaybeCancelVisit => None,
        }
    }

    /// What its events give as the intent of the reply that it is about.
    #[must_use]
    pub const fn intent(self) -> Option<Intent> {
        match self {
            Self::Reply => Some(Intent::Text),
            Self::Safety => Some(Intent::Safety),
            Self::MaybeCancelVisit => Some(Intent::Cancel),
            Self::PlanExhausted
            | Self::OutcomeUnknown
            | Self::CameBack
            | Self::Unacknowledged
            | Self::SurgeHold
            | Self::HoldReview => None,
        }
    }
}

words! {
    /// Where a work item stands.
    WorkState {
        /// Nobody has it.
        Open = "open",
        /// Somebody looks after it.
        Claimed = "claimed",
        /// It is done.
        Closed = "closed",
    }
}

words! {
    /// What is told of a work item.
    WorkEvent {
        Opened = "opened", Claimed = "claimed", Released = "released",
        /// Nobody has claimed it in time.
        Overdue = "overdue",
        Closed = "closed",
    }
}

words! {
    /// What became of a work item. A closed list, so that nothing about a patient is written here.
    WorkOutcome {
        /// The patient was reached in another way.
        Reached = "reached",
        /// A new message was sent.
        Resent = "resent",
        /// There is no need any more.
        NotNeeded = "not_needed",
        /// Nobody could be reached.
        Unreachable = "unreachable",
        /// It has settled itself, or its cause is gone.
        Resolved = "resolved",
    }
}
