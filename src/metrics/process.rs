//! What the system says of this process, asked at each scrape. Where there is no /proc there is nothing of it.

use prometheus_client::registry::Registry;

/// Has the samples of this process.
#[cfg(target_os = "linux")]
pub fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(linux::Process));
}

/// Has no samples of this process.
#[cfg(not(target_os = "linux"))]
pub fn register(_: &mut Registry) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;

    use procfs::process::{LimitValue, Stat};
    use procfs::{ProcResult, boot_time_secs, page_size, ticks_per_second};
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;

    /// Asks for everything at each scrape.
    #[derive(Debug)]
    pub struct Process;

    /// What is asked for.
    struct Facts {
        stat: Stat,
        open_fds: usize,
        max_fds: Option<u64>,
        boot_time: u64,
    }

    impl Facts {
        fn ask() -> ProcResult<Self> {
            let process = procfs::process::Process::myself()?;
            let max_fds = match process.limits()?.max_open_files.soft_limit {
                LimitValue::Value(limit) => Some(limit),
                LimitValue::Unlimited => None,
            };
            Ok(Self { stat: process.stat()?, open_fds: process.fd_count()?, max_fds, boot_time: boot_time_secs()? })
        }

        fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
            let seconds = |ticks: u64| ticks as f64 / ticks_per_second() as f64;
            let cpu = ConstCounter::new(seconds(self.stat.utime + self.stat.stime));
            let help = "Processor time of this process, its own and the system's for it";
            cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
            let started = self.boot_time as f64 + seconds(self.stat.starttime);
            let gauges = [
                ("process_resident_memory_bytes", "Memory of this process", Some((self.stat.rss * page_size()) as f64)),
                ("process_open_fds", "Open file descriptors", Some(self.open_fds as f64)),
                ("process_max_fds", "How many file descriptors may be open", self.max_fds.map(|max| max as f64)),
                ("process_threads", "Threads of this process", Some(self.stat.num_threads as f64)),
                ("process_start_time_seconds", "When this process began, in seconds since 1970", Some(started)),
            ];
            for (name, help, value) in gauges {
                let gauge = ConstGauge::new(value.unwrap_or(f64::INFINITY));
                gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
            }
            Ok(())
        }
    }

    impl Collector for Process {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            match Facts::ask() {
                Ok(facts) => facts.encode(&mut encoder),
                Err(error) => {
                    tracing::debug!(%error, "the system says nothing of this process");
                    Ok(())
                }
            }
        }
    }
}
