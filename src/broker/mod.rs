//! Everything that is said to NATS. The only module that imports `async_nats`: outside of it there are channels, records
//! and [`BrokerError`]s, no subjects, headers or status codes.
//!
//! [`topology`] names and defines every object; [`connection`] connects to an [`address`] with a [`mod@login`];
//! [`objects`] makes, verifies and watches the objects, and [`mod@lost_end`] compares the log with what others know of
//! it. [`publisher`] is where a message is stored, [`mod@group_commit`] how many writes become one, [`stored`] a message as it comes out again, by [`consumer`] or
//! [`log_reader`]. With [`store`], [`outcomes`], [`dead_letters`] and [`mod@checkpoints`] they are what a tracker
//! needs, brought together in [`partition`]; [`membership`] is which trackers there are, [`storing`] what became of
//! attempts to store something. [`watch`] is what the view is fed by; [`inspect`] tells how far everything has come,
//! [`mod@usage`] how full it is, and [`notifications`] when to look again. [`mod@trim`] removes for good, and
//! [`snapshot`] is what a backup needs. [`mod@permissions`] is what each process may do at the broker. [`error`] sorts
//! what can go wrong, once, by what its caller does about it.

pub mod address;
pub mod checkpoints;
pub mod connection;
pub mod consumer;
pub mod dead_letters;
pub mod error;
pub mod group_commit;
pub mod inspect;
pub mod log_reader;
pub mod login;
pub mod lost_end;
pub mod membership;
pub mod notifications;
pub mod objects;
pub mod outcomes;
pub mod partition;
pub mod permissions;
pub mod publisher;
pub mod snapshot;
pub mod store;
pub mod stored;
pub mod storing;
pub mod topology;
pub mod trim;
pub mod usage;
pub mod watch;

pub use connection::{Broker, ConnectionSettings};
pub use consumer::{AckHandle, Deliveries, Delivery};
pub use dead_letters::{DeadLetter, Reason};
pub use error::BrokerError;
pub use group_commit::GroupCommit;
pub use log_reader::direct::LAG_PAUSE;
pub use login::Login;
pub use membership::Membership;
pub use objects::monitor::{Monitor, Objects};
pub use partition::{LogReader, NatsLog, NatsPartition, TrackBroker, TrackStores};
pub use publisher::{Origin, Outgoing, Publisher, Receipt};
pub use stored::{Malformed, Stored};
