//! Everything that is said to NATS. The only module that imports `async_nats`: outside of it there are channels,
//! records and [`BrokerError`]s, no subjects, headers or status codes.
//!
//! [`topology`] names and defines every object; [`connection`] connects to an [`address`], [`provision`] makes or
//! verifies the objects; [`publisher`] is where ingest stores a message; [`consumer`], [`store`], [`read_back`] and
//! [`dead_letters`] are what a tracker needs, brought together in [`partition`]; [`watch`] is what the view is fed by.
//! [`error`] sorts what can go wrong, once, by what its caller does about it.

pub mod address;
pub mod connection;
pub mod consumer;
pub mod dead_letters;
pub mod error;
pub mod partition;
pub mod provision;
pub mod publisher;
pub mod read_back;
pub mod store;
pub mod topology;
pub mod watch;

pub use connection::{Broker, ConnectionSettings};
pub use consumer::{AckHandle, Deliveries, Delivery, Stored};
pub use dead_letters::{DeadLetter, Reason};
pub use error::BrokerError;
pub use partition::{NatsPartition, TrackBroker};
pub use publisher::{Outgoing, Publisher, Receipt};
