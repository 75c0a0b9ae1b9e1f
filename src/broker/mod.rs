//! Everything that is said to NATS. The only module that imports `async_nats`: outside of it there are channels,
//! records and [`BrokerError`]s, no subjects, headers or status codes.
//!
//! [`topology`] names and defines every object; [`connection`] connects to an [`address`], [`provision`] makes or
//! verifies the objects; [`publisher`] is where a message is stored; [`consumer`] with its [`mod@pull`], [`store`],
//! [`read_back`], [`outcomes`], [`dead_letters`] and [`letter_box`] are what a tracker needs, brought together in
//! [`partition`], and [`membership`] is which trackers there are; [`watch`] is what the view is fed by; [`progress`] and
//! [`signals`] tell how far an event has come, and when to look again; [`letter_list`], [`replays`], [`mod@backlog`] and
//! [`mod@overview`] are what an operator needs beside those, [`mod@checkpoints`] is from where a reading can begin, [`trim`],
//! [`mod@forgotten`] and [`removal`] are what goes for good, [`snapshot`] is what a backup needs; [`stored`] is a message as
//! it comes out of the stream, [`mod@direct`] how it is read there.
//! [`mod@monitor`] inspects the [`objects`] all the time and [`mod@lost_end`] compares them with each other, and [`storing`] is what became of attempts to store something.
//! [`error`] sorts what can go wrong, once, by what its caller does about it.

pub mod address;
pub mod backlog;
pub mod checkpoints;
pub mod connection;
pub mod consumer;
pub mod dead_letters;
pub mod differences;
mod direct;
pub mod error;
pub mod forgotten;
mod leader;
pub mod letter_box;
pub mod letter_list;
pub mod lost_end;
pub mod membership;
pub mod monitor;
pub mod objects;
pub mod outcomes;
pub mod overview;
pub mod partition;
pub mod progress;
pub mod provision;
pub mod publisher;
mod pull;
pub mod read_back;
mod refusal;
mod removal;
pub mod replays;
pub mod signals;
pub mod snapshot;
pub mod store;
pub mod stored;
pub mod storing;
pub mod topology;
pub mod trim;
pub mod watch;

pub use connection::{Broker, ConnectionSettings};
pub use consumer::{AckHandle, Deliveries, Delivery};
pub use dead_letters::{DeadLetter, Reason};
pub use direct::LAG_PAUSE;
pub use error::BrokerError;
pub use membership::Membership;
pub use monitor::{Monitor, Objects};
pub use partition::{LogReader, NatsLog, NatsPartition, TrackBroker, TrackStores};
pub use publisher::{Outgoing, Publisher, Receipt};
pub use stored::{Malformed, Stored};
