//! `outreachd`: the patient-outreach dispatcher.

pub mod config;
pub mod domain;
pub mod intake;
pub mod provider;
