//! RabbitMQ: topology as data, a supervised connection, consuming with contiguous acknowledgements, publishing
//! with confirms.
//!
//! One supervisor holds one session: a connection to consume on and one to publish on, so that a broker that
//! blocks publishers does not block acknowledgements. Whatever fails, the session is thrown away and built anew;
//! nothing is repaired in place, so there is one path to test. Deliveries that were not acknowledged come again.

pub mod acks;
mod channel;
mod connection;
mod consume;
mod delivery;
mod ends;
mod findings;
pub mod names;
mod publish;
mod quarantine;
mod session;
pub mod topology;
mod window;

pub use acks::Token;
pub use connection::{Broker, BrokerOptions, BrokerState, UrlError, declare, inspect, remove};
pub use delivery::{Death, Delivery};
pub use ends::{Acks, ConsumeOptions, Deliveries};
pub use findings::{Finding, Rule};
pub use names::{ExchangeRole, Prefix, QueueRole};
pub use publish::{Outgoing, PublishError, Publisher};
pub use quarantine::{KEY_HEADER, QUEUE_HEADER, REASON as QUARANTINE_REASON, REASON_HEADER};
pub use session::DownReason;
pub use topology::TopologyError;
