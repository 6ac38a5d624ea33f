//! `outreachd`: the patient-outreach dispatcher.

pub mod broker;
pub mod config;
pub mod domain;
pub mod provider;
