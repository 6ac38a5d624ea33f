//! `outreachd`: the patient-outreach dispatcher.

pub mod app;
pub mod broker;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod http;
pub mod intake;
pub mod policy;
pub mod provider;
pub mod simulator;
pub mod store;
pub mod template;
