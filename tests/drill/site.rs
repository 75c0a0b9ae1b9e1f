//! All that runs in a drill: one broker or three, and several processes of each role.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use tokio::time::{Instant, sleep};

use crate::cluster::{Cluster, floor_program};
use crate::groups::Groups;
use crate::harness::broker::server_program;
use crate::harness::program::Start;
use crate::harness::{Broker, Client, Program, free_port, tail};
use crate::plan::{ACK_WAIT, BrokersWanted, InGroup, Role};
use crate::proxy::{Line, Proxy};
use crate::report::say;

/// How long a process is waited for that is to die in the middle of a group: of records, two must wait at the same time.
const DIES_WITHIN: Duration = Duration::from_secs(20);
/// The log of a process: also what becomes of groups.
const LOG: &str = "info,async_nats=warn,rockets::broker::group_commit=debug";

/// The whole site. Its processes end before its broker.
pub struct Site {
    pub slots: Vec<Slot>,
    brokers: Brokers,
    /// How many processes ended by themselves, and were started again.
    pub ended: u64,
}

/// What it stands on.
enum Brokers {
    One(Box<Broker>),
    Three(Cluster),
}

/// The place of one process, which is started again with the same port and network.
pub struct Slot {
    pub role: Role,
    pub client: Client,
    /// What became of the groups of all its processes that have ended.
    pub groups: Groups,
    /// Whether what waits is always stored in groups, or where that is found to be faster.
    is_grouping: bool,
    /// Counts the processes that had this place.
    pub life: Arc<AtomicU64>,
    /// Whether it is down or frozen, so that nothing may be expected of it.
    pub is_out: bool,
    /// The network to the broker; roles find the nodes of a cluster by themselves.
    proxy: Option<Proxy>,
    urls: String,
    port: u16,
    program: Option<Program>,
}

impl Site {
    /// Starts everything, and waits until it is ready.
    pub async fn start(wanted: BrokersWanted) -> Self {
        let brokers = match wanted {
            BrokersWanted::One => Brokers::One(Box::new(Broker::start().await)),
            BrokersWanted::Three => Brokers::Three(Cluster::start(server_program().to_owned()).await),
            BrokersWanted::ThreeOld => {
                Brokers::Three(Cluster::start(floor_program().expect("it was looked for")).await)
            }
        };
        let mut site = Self { slots: Vec::new(), brokers, ended: 0 };
        site.program(&["init"]).ends().await.says(0);
        for role in Role::ALL {
            for at in 0..role.processes() {
                let slot = site.new_slot(role, at.is_multiple_of(2)).await;
                site.slots.push(slot);
            }
        }
        for slot in &mut site.slots {
            slot.program.as_mut().expect("it was started").ready().await;
        }
        site
    }

    async fn new_slot(&self, role: Role, is_grouping: bool) -> Slot {
        match &self.brokers {
            Brokers::One(broker) => {
                let proxy = Proxy::to(broker.port()).await;
                Slot::begin(role, is_grouping, proxy.url(), Some(proxy))
            }
            Brokers::Three(cluster) => Slot::begin(role, is_grouping, cluster.urls(), None),
        }
    }

    /// The broker, where it is one.
    pub fn one(&mut self) -> &mut Broker {
        let Brokers::One(broker) = &mut self.brokers else { panic!("this site has three brokers") };
        broker
    }

    /// The brokers, where they are three.
    pub fn three(&mut self) -> &mut Cluster {
        let Brokers::Three(cluster) = &mut self.brokers else { panic!("this site has one broker") };
        cluster
    }

    /// One of the tools, to be started.
    pub fn program(&self, arguments: &[&str]) -> Start {
        let urls = match &self.brokers {
            Brokers::One(broker) => broker.url(),
            Brokers::Three(cluster) => cluster.urls(),
        };
        settings(Program::of(arguments), &urls)
    }

    /// One process of a role.
    pub fn slot(&mut self, role: Role, at: usize) -> &mut Slot {
        self.slots.iter_mut().filter(|slot| slot.role == role).nth(at).expect("the role has so many processes")
    }

    /// Clients of the processes of a role of which something may be expected.
    pub fn clients(&self, role: Role) -> Vec<Client> {
        self.slots.iter().filter(|slot| slot.role == role && !slot.is_out).map(|slot| slot.client.clone()).collect()
    }

    /// What became of the groups of a role.
    pub fn groups(&self, role: Role) -> Groups {
        let slots = self.slots.iter().filter(|slot| slot.role == role);
        slots.map(Slot::all_groups).fold(Groups::default(), Groups::and)
    }

    /// JetStream, past the service.
    pub async fn jetstream(&self) -> jetstream::Context {
        match &self.brokers {
            Brokers::One(broker) => broker.jetstream().await,
            Brokers::Three(cluster) => cluster.jetstream().await,
        }
    }

    /// Starts processes again that ended by themselves, as whoever runs them would.
    pub fn supervise(&mut self) {
        for slot in self.slots.iter_mut().filter(|slot| !slot.is_out) {
            let program = slot.program.as_mut().expect("it runs");
            if let Some(status) = program.try_exit() {
                say(&format!("    {} ended by itself ({status}):\n{}", slot.role.name(), tail(&program.log(), 5)));
                self.ended += 1;
                slot.kill();
                slot.revive();
            }
        }
    }
}

impl Slot {
    fn begin(role: Role, is_grouping: bool, urls: String, proxy: Option<Proxy>) -> Self {
        let port = free_port();
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        let (life, groups, program) = Default::default();
        let mut slot = Self { role, client, groups, is_grouping, life, is_out: true, proxy, urls, port, program };
        slot.revive();
        slot
    }

    /// Ends its process as `kill -9` does.
    pub fn kill(&mut self) {
        self.is_out = true;
        self.groups = self.all_groups();
        self.program = None;
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Starts its process.
    pub fn revive(&mut self) {
        self.start(self.command());
    }

    /// Ends its process, and starts one that dies in the middle of its first group: of that, or after a while of this.
    pub async fn die_in_group(&mut self, point: InGroup) {
        self.kill();
        self.start(grouping(self.command(), self.role).env("FAIL_POINT", point.fail_point()));
        self.is_out = true;
        let deadline = Instant::now() + DIES_WITHIN;
        let program = self.program.as_mut().expect("it was started");
        while program.try_exit().is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        self.groups.deaths += u64::from(program.try_exit().is_some());
        self.kill();
    }

    /// Ends its process and starts it again with a clock that is so far off.
    pub fn begin_again(&mut self, clock: Option<&str>) {
        self.kill();
        let mut start = self.command();
        if let Some((clock, library)) = clock.zip(clock_library()) {
            start = start.env("LD_PRELOAD", &library).env("FAKETIME", clock).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        self.start(start);
    }

    fn command(&self) -> Start {
        let start = settings(Program::of(&[self.role.name()]), &self.urls).rust_log(LOG).http_port(self.port);
        if self.is_grouping { grouping(start, self.role) } else { start }
    }

    fn start(&mut self, start: Start) {
        self.program = Some(start.start());
        self.is_out = false;
    }

    /// What became of the groups of all its processes.
    pub fn all_groups(&self) -> Groups {
        let lines = self.program.iter().flat_map(Program::log_lines);
        lines.fold(self.groups, |groups, line| groups.with(&line))
    }

    /// Stops its process as a machine that hangs.
    pub fn freeze(&mut self) {
        self.is_out = true;
        self.program.as_ref().expect("it runs").freeze();
    }

    /// Lets its process go on.
    pub fn thaw(&mut self) {
        self.program.as_ref().expect("it runs").thaw();
        self.is_out = false;
    }

    /// What its network does from now on.
    pub fn line(&self, line: Line) {
        self.proxy.as_ref().expect("it has a network of its own").set(line);
    }
}

/// What gives a process another clock (libfaketime), where it is installed.
pub fn clock_library() -> Option<String> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    libraries.filter(|library| library.is_file()).find_map(|library| library.to_str().map(str::to_owned))
}

/// With groups of whatever waits.
fn grouping(start: Start, role: Role) -> Start {
    match role {
        Role::Ingest => start.env("ROCKETS_INGEST__GROUP_COMMIT", "on"),
        Role::Track => start.env("ROCKETS_TRACK__GROUP_COMMIT", "on"),
        Role::Query => start,
    }
}

fn settings(start: Start, urls: &str) -> Start {
    let replicas = if urls.contains(',') { "3" } else { "1" };
    start
        .env("ROCKETS_NATS__URL", urls)
        .env("ROCKETS_STREAM__REPLICAS", replicas)
        .env("ROCKETS_TRACK__ACK_WAIT", &format!("{}ms", ACK_WAIT.as_millis()))
}
