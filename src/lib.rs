//! `outreachd`: the patient-outreach dispatcher.

pub mod config;
pub mod domain;
pub mod provider;
pub mod simulator;
