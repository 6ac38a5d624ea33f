//! Every adapter against a real server on port 0: what it asks, and what it makes of each answer.

mod capture;
mod fhir_portal;
mod foreign_mail;
mod hostile;
mod http_server;
mod keys;
mod mail_back;
mod registry;
mod smtp;
mod smtp_server;
mod table;
mod twilio_sms;
mod twilio_voice;
mod wire;
