//! Which faults come, in which order, at whom and for how long: drawn from a seed.

use std::fmt;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::site::clock_library;

/// How long a tracker may hold a message in a drill.
pub const ACK_WAIT: Duration = Duration::from_secs(1);

/// Nodes of a cluster.
pub const NODES: usize = 3;

/// A role of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Ingest,
    Track,
    Query,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Track, Self::Query];

    /// Its subcommand.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Track => "track",
            Self::Query => "query",
        }
    }

    /// How many processes of it a drill has.
    pub fn processes(self) -> usize {
        match self {
            Self::Track => 3,
            Self::Ingest | Self::Query => 2,
        }
    }
}

/// Where in the middle of a group a process dies: what is sent is stored together, or not at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InGroup {
    /// All but the last of it is sent.
    Sent,
    /// It is stored, and nobody has been answered.
    Stored,
}

impl InGroup {
    pub const ALL: [Self; 2] = [Self::Sent, Self::Stored];

    /// The fail point of it, the first time.
    pub fn fail_point(self) -> &'static str {
        match self {
            Self::Sent => "group.sent:1",
            Self::Stored => "group.stored:1",
        }
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a process, which is started again after a while.
    Kill(Role),
    /// A process dies in the middle of a group, and is started again after a while.
    DieInGroup(Role, InGroup),
    /// SIGSTOP of a process, and SIGCONT after a while.
    Freeze(Role),
    /// `kill -9` of a process; those that are left have to do.
    KillForGood(Role),
    /// SIGSTOP of a process; those that are left have to do.
    FreezeForGood(Role),
    /// Its connections to the broker end, and it gets no new ones for a while.
    Cut(Role),
    /// Everything between it and the broker is late.
    Slow(Role),
    /// Its connections to the broker are half open: they stand, and nothing comes through, for good.
    Silent(Role),
    /// `kill -9` of the broker, which is started again after a while.
    KillBroker,
    /// SIGSTOP of the broker, and SIGCONT after a while.
    FreezeBroker,
    /// The broker's store is full for a while.
    Full,
    /// `kill -9` of a node of the cluster; the other two have to do.
    KillNode,
    /// The same of the node that leads the stream of messages.
    KillLeader,
    /// SIGSTOP of a node; the other two have to do.
    FreezeNode,
    /// The same of the leader.
    FreezeLeader,
    /// One node after the other is stopped and started again.
    Roll,
    /// The same, with a newer version.
    Upgrade,
    /// The durable of a partition is deleted by hand, and made again by `rockets init`.
    DeleteDurable,
    /// What can be made again from the log is deleted by hand, and made again by `rockets init` and `rockets rebuild`.
    DeleteStore(Store),
    /// `rockets trim` of everything that has been applied.
    Trim,
    /// `rockets forget` of a rocket that goes on sending.
    Forget,
    /// The dead letters have no room for a while.
    DeadLettersFull,
    /// A process whose clock is an hour off, for a while.
    ClockOff(Role),
    /// The leaders step down every two seconds, for a while.
    StepDown,
    /// A node is cut off from the others, and still talks to roles, for a while.
    CutRoutes,
}

/// What the service stores beside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    Records,
    Outcomes,
    DeadLetters,
}

impl Store {
    pub const ALL: [Self; 3] = [Self::Records, Self::Outcomes, Self::DeadLetters];

    /// Its stream.
    pub fn stream(self) -> &'static str {
        match self {
            Self::Records => "KV_rockets",
            Self::Outcomes => "ROCKETS_OUTCOMES",
            Self::DeadLetters => "ROCKETS_DLQ",
        }
    }
}

impl Kind {
    /// The time in which a probe must come through once the fault is over (those for good: once it is done).
    pub fn recovers_within(self) -> Duration {
        Duration::from_secs(match self {
            // A process starts and connects; what a tracker held comes again.
            Self::Kill(_) | Self::DieInGroup(..) | Self::Freeze(_) | Self::KillForGood(_) | Self::Slow(_) => 5,
            // What a frozen tracker was sent until its pulls expired, and then held.
            Self::FreezeForGood(_) => 10,
            Self::Cut(_) | Self::KillBroker | Self::FreezeBroker => 10,
            // A role notices by its own probes of the connection.
            Self::Silent(_) => 20,
            Self::Full => 10,
            // Those that the node led are elected again (4 to 9 s), and what trackers held comes again.
            Self::KillNode | Self::KillLeader => 20,
            // Before that, roles that are connected to it have to notice.
            Self::FreezeNode | Self::FreezeLeader => 30,
            // Before the last node may be stopped, all have to be well: only its own elections are left.
            Self::Roll | Self::Upgrade => 20,
            // Everything of the partition comes once more.
            Self::DeleteDurable => 10,
            Self::DeleteStore(_) | Self::Trim | Self::Forget | Self::ClockOff(_) => 10,
            // What waited comes again after a pause that has grown.
            Self::DeadLettersFull => 15,
            Self::StepDown => 20,
            // The node that was cut off catches up, and those who talked to it find another one.
            Self::CutRoutes => 45,
        })
    }

    /// Whether the fault stays while the probe has to come through.
    pub fn is_for_good(self) -> bool {
        let of_a_role = matches!(self, Self::KillForGood(_) | Self::FreezeForGood(_));
        of_a_role || matches!(self, Self::KillNode | Self::KillLeader | Self::FreezeNode | Self::FreezeLeader)
    }

    /// Whether it is done by somebody who waits until it is done, so that nothing else happens meanwhile.
    fn comes_alone(self) -> bool {
        let by_hand = matches!(self, Self::DeleteDurable | Self::DeleteStore(_) | Self::Trim | Self::Forget);
        let takes_its_time =
            matches!(self, Self::DieInGroup(..) | Self::DeadLettersFull | Self::StepDown | Self::CutRoutes);
        by_hand || takes_its_time || self.is_for_good()
    }

    /// The role that it meets; none for the broker.
    fn role(self) -> Option<Role> {
        match self {
            Self::Kill(role) | Self::Freeze(role) | Self::KillForGood(role) | Self::FreezeForGood(role) => Some(role),
            Self::Cut(role) | Self::Slow(role) | Self::Silent(role) | Self::ClockOff(role) => Some(role),
            Self::DieInGroup(role, _) => Some(role),
            Self::DeleteDurable | Self::DeleteStore(_) | Self::Trim | Self::Forget | Self::DeadLettersFull => None,
            Self::StepDown | Self::CutRoutes => None,
            Self::KillBroker | Self::FreezeBroker | Self::Full => None,
            Self::KillNode | Self::KillLeader | Self::FreezeNode | Self::FreezeLeader => None,
            Self::Roll | Self::Upgrade => None,
        }
    }

    fn lasting(self, random: &mut ChaCha8Rng) -> Duration {
        Duration::from_millis(match self {
            Self::Full | Self::DeadLettersFull => random.random_range(1_000..2_000),
            Self::CutRoutes => random.random_range(2_000..8_000),
            Self::ClockOff(_) => random.random_range(2_000..4_000),
            Self::Slow(_) | Self::Freeze(_) | Self::FreezeBroker => random.random_range(200..2_000),
            _ => random.random_range(0..800),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(role) => write!(f, "{}: killed, started again", role.name()),
            Self::DieInGroup(role, InGroup::Sent) => write!(f, "{}: dies before a group is stored", role.name()),
            Self::DieInGroup(role, InGroup::Stored) => write!(f, "{}: dies when a group is stored", role.name()),
            Self::Freeze(role) => write!(f, "{}: frozen for a while", role.name()),
            Self::KillForGood(role) => write!(f, "{}: killed, the others go on", role.name()),
            Self::FreezeForGood(role) => write!(f, "{}: frozen, the others go on", role.name()),
            Self::Cut(role) => write!(f, "{}: cut off from the broker", role.name()),
            Self::Slow(role) => write!(f, "{}: slow line to the broker", role.name()),
            Self::Silent(role) => write!(f, "{}: half-open line to the broker", role.name()),
            Self::KillBroker => write!(f, "broker: killed, started again"),
            Self::FreezeBroker => write!(f, "broker: frozen for a while"),
            Self::Full => write!(f, "broker: store full"),
            Self::KillNode => write!(f, "a node: killed, the others go on"),
            Self::KillLeader => write!(f, "the leader: killed, the others go on"),
            Self::FreezeNode => write!(f, "a node: frozen, the others go on"),
            Self::FreezeLeader => write!(f, "the leader: frozen, the others go on"),
            Self::Roll => write!(f, "all nodes: restarted one by one"),
            Self::Upgrade => write!(f, "all nodes: upgraded one by one"),
            Self::DeleteDurable => write!(f, "by hand: a durable deleted"),
            Self::DeleteStore(store) => write!(f, "by hand: {} deleted", store.stream()),
            Self::Trim => write!(f, "by hand: the log trimmed"),
            Self::Forget => write!(f, "by hand: a rocket forgotten"),
            Self::DeadLettersFull => write!(f, "broker: dead letters full"),
            Self::ClockOff(role) => write!(f, "{}: its clock an hour off", role.name()),
            Self::StepDown => write!(f, "the leaders: step down every 2 s"),
            Self::CutRoutes => write!(f, "a node: cut off from the others"),
        }
    }
}

/// One kind of fault, and whom it meets: which of the processes of its role.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub at: usize,
}

/// One fault or two at once, and for how long.
#[derive(Clone, Debug)]
pub struct Step {
    pub faults: Vec<Fault>,
    pub lasting: Duration,
}

impl Step {
    /// The time in which a probe must come through.
    pub fn recovers_within(&self) -> Duration {
        self.faults.iter().map(|fault| fault.kind.recovers_within()).sum()
    }

    /// Whether the probe has to come through while the fault stays.
    pub fn is_for_good(&self) -> bool {
        self.faults.iter().all(|fault| fault.kind.is_for_good())
    }
}

/// All that is to come.
pub struct Plan {
    pub seed: u64,
    pub steps: Vec<Step>,
    pub brokers: BrokersWanted,
}

/// What the site stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokersWanted {
    One,
    Three,
    /// Three of the oldest version that the service takes.
    ThreeOld,
}

impl Plan {
    /// Every kind of fault, those that last long more rarely, and now and then two at once.
    pub fn for_one_broker(seed: u64, faults: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let table = table_for_one_broker();
        let steps = (0..faults).map(|_| draw_step(&mut random, &table)).collect();
        Self { seed, steps, brokers: BrokersWanted::One }
    }

    /// Everything that may happen to three brokers, and some of what happens to roles. Where there is something to upgrade
    /// from, that comes first.
    pub fn for_three_brokers(seed: u64, faults: usize, upgrades: bool) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let upgrade = Step { faults: vec![Fault { kind: Kind::Upgrade, at: 0 }], lasting: Duration::ZERO };
        let table = table_for_three_brokers();
        let drawn = std::iter::repeat_with(|| draw_step(&mut random, &table));
        let steps = upgrades.then_some(upgrade).into_iter().chain(drawn).take(faults).collect();
        Self { seed, steps, brokers: if upgrades { BrokersWanted::ThreeOld } else { BrokersWanted::Three } }
    }
}

/// Kinds with their weights.
fn table_for_three_brokers() -> Vec<(u32, Kind)> {
    let mut table = vec![(6, Kind::KillNode), (6, Kind::KillLeader), (4, Kind::FreezeNode), (3, Kind::FreezeLeader)];
    table.push((1, Kind::Roll));
    table.extend(Role::ALL.map(|role| (2, Kind::Kill(role))));
    table.extend(Role::ALL.map(|role| (1, Kind::Freeze(role))));
    table.push((1, Kind::KillForGood(Role::Track)));
    table.extend([(4, Kind::StepDown), (4, Kind::CutRoutes), (2, Kind::DeleteDurable), (1, Kind::Trim)]);
    table.extend([(1, Kind::Forget), (1, Kind::DeadLettersFull), (1, Kind::DeleteStore(Store::Records))]);
    table.extend(deaths_in_groups().map(|kind| (1, kind)));
    table
}

/// Those that the program was built for.
fn deaths_in_groups() -> impl Iterator<Item = Kind> {
    let points = InGroup::ALL.into_iter().filter(|_| cfg!(feature = "fail-points"));
    points.flat_map(|point| [Role::Ingest, Role::Track].map(|role| Kind::DieInGroup(role, point)))
}

/// Kinds with their weights.
fn table_for_one_broker() -> Vec<(u32, Kind)> {
    let mut table = vec![(8, Kind::KillBroker), (6, Kind::FreezeBroker), (2, Kind::Full)];
    for role in Role::ALL {
        table.extend([(5, Kind::Kill(role)), (4, Kind::Freeze(role)), (5, Kind::Cut(role)), (3, Kind::Slow(role))]);
        table.extend([(3, Kind::KillForGood(role)), (1, Kind::Silent(role))]);
    }
    table.push((1, Kind::FreezeForGood(Role::Track)));
    table.extend([(4, Kind::DeleteDurable), (3, Kind::Trim), (3, Kind::Forget), (4, Kind::DeadLettersFull)]);
    table.extend(Store::ALL.map(|store| (2, Kind::DeleteStore(store))));
    table.extend(deaths_in_groups().map(|kind| (3, kind)));
    if clock_library().is_some() {
        table.extend(Role::ALL.map(|role| (1, Kind::ClockOff(role))));
    }
    table
}

fn draw_step(random: &mut ChaCha8Rng, table: &[(u32, Kind)]) -> Step {
    let first = draw(random, table);
    let mut step = Step { faults: vec![first], lasting: first.kind.lasting(random) };
    if random.random_bool(0.1) && !first.kind.comes_alone() {
        let second = draw(random, table);
        // Two faults of one thing would be one, and what stays for good is another kind of waiting.
        if second.kind.role() != first.kind.role() && !second.kind.comes_alone() {
            step.faults.push(second);
        }
    }
    step
}

fn draw(random: &mut ChaCha8Rng, table: &[(u32, Kind)]) -> Fault {
    let all = table.iter().map(|(weight, _)| weight).sum();
    let mut ticket = random.random_range(0..all);
    let found = table.iter().find(|(weight, _)| {
        let found = ticket < *weight;
        ticket = ticket.saturating_sub(*weight);
        found
    });
    let kind = found.expect("the ticket is one of them").1;
    let processes = kind.role().map_or(NODES, Role::processes);
    Fault { kind, at: random.random_range(0..processes) }
}
