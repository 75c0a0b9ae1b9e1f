//! All that runs in a drill: the broker, and several processes of each role, each with a network of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::jetstream;

use crate::harness::{Broker, Client, Program, free_port, tail};
use crate::plan::{ACK_WAIT, Role};
use crate::proxy::{Line, Proxy};
use crate::report::say;

/// The whole site. Its processes end before its broker.
pub struct Site {
    pub slots: Vec<Slot>,
    pub broker: Broker,
    /// How many processes ended by themselves, and were started again.
    pub ended: u64,
}

/// The place of one process, which is started again with the same port and network.
pub struct Slot {
    pub role: Role,
    pub client: Client,
    /// Counts the processes that had this place.
    pub life: Arc<AtomicU64>,
    /// Whether it is down or frozen, so that nothing may be expected of it.
    pub is_out: bool,
    pub proxy: Proxy,
    port: u16,
    program: Option<Program>,
}

impl Site {
    /// Starts everything, and waits until it is ready.
    pub async fn start() -> Self {
        let broker = Broker::start().await;
        let init = Program::of(&["init"]).broker(&broker).env("ROCKETS_TRACK__ACK_WAIT", &ack_wait());
        init.ends().await.says(0);
        let mut site = Self { slots: Vec::new(), broker, ended: 0 };
        for role in Role::ALL {
            for _ in 0..role.processes() {
                site.slots.push(Slot::start(role, Proxy::to(site.broker.port()).await));
            }
        }
        for slot in &mut site.slots {
            slot.program.as_mut().expect("it was started").ready().await;
        }
        site
    }

    /// One process of a role.
    pub fn slot(&mut self, role: Role, at: usize) -> &mut Slot {
        self.slots.iter_mut().filter(|slot| slot.role == role).nth(at).expect("the role has so many processes")
    }

    /// Clients of the processes of a role of which something may be expected.
    pub fn clients(&self, role: Role) -> Vec<Client> {
        self.slots.iter().filter(|slot| slot.role == role && !slot.is_out).map(|slot| slot.client.clone()).collect()
    }

    /// JetStream, past the service.
    pub async fn jetstream(&self) -> jetstream::Context {
        self.broker.jetstream().await
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
    fn start(role: Role, proxy: Proxy) -> Self {
        let port = free_port();
        let client = Client::new(&format!("http://127.0.0.1:{port}"));
        let mut slot = Self { role, client, life: Arc::default(), is_out: true, proxy, port, program: None };
        slot.revive();
        slot
    }

    /// Ends its process as `kill -9` does.
    pub fn kill(&mut self) {
        self.is_out = true;
        self.program = None;
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Starts its process.
    pub fn revive(&mut self) {
        let start = Program::of(&[self.role.name()]).http_port(self.port).env("ROCKETS_NATS__URL", &self.proxy.url());
        self.program = Some(start.env("ROCKETS_TRACK__ACK_WAIT", &ack_wait()).start());
        self.is_out = false;
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

    /// Lets its network be as it should.
    pub fn mend(&self) {
        self.proxy.set(Line::Open);
    }
}

fn ack_wait() -> String {
    format!("{}ms", ACK_WAIT.as_millis())
}
