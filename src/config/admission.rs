//! When a service takes no more Orders although it has slots: what its machine must have left.

use recorder_core::admission::{Cost, Limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a machine must have left for another Session. Limits of a container (cgroup v2) count as the machine's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Admission {
    /// What is looked at: `cpu`, `memory`, `disk`, `files` (descriptors that the process may still open). With none only `serve.slots` counts.
    pub limits: Vec<Limit>,
    /// How much of all processors may be in use with the new Session, in percent, 10 to 100. The first Session is taken whatever is in use.
    #[schemars(with = "u16")]
    pub cpu_percent: u32,
    /// What a Session is expected to use, in percent of one processor, 1 to 6400. It counts at no less for its first 15 seconds; after that, what is measured.
    #[schemars(with = "u16")]
    pub session_cpu_percent: u32,
    /// Memory that a Session is expected to use, in MiB, 16 to 65536; counted in the same way.
    #[schemars(with = "u16")]
    pub session_memory_mib: u32,
    /// With so many percent of the spool's disk free, or less, 0 to 50, recordings are finished, and streams go on. A new Session needs space for two hours of its
    /// recording, and 1 GiB, beside what is promised to those that run.
    #[schemars(with = "u16")]
    pub low_disk_percent: u32,
}

/// Something that a machine can have too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Processor time.
    Cpu,
    /// Memory.
    Memory,
    /// Space in the spool.
    Disk,
    /// Descriptors of the process.
    Files,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            limits: vec![Limit::Cpu, Limit::Memory, Limit::Disk, Limit::Files],
            cpu_percent: 80,
            session_cpu_percent: 80,
            session_memory_mib: 300,
            low_disk_percent: 5,
        }
    }
}

impl Admission {
    /// The same for whoever decides; a Session writes so many bytes a second.
    pub fn limits(&self, bytes_per_s: u64) -> Limits {
        let has = |limit| self.limits.contains(&limit);
        Limits {
            cpu_share: has(Limit::Cpu).then_some(f64::from(self.cpu_percent) / 100.0),
            session: Cost { cpu: f64::from(self.session_cpu_percent) / 100.0, memory: u64::from(self.session_memory_mib) << 20 },
            memory: has(Limit::Memory),
            disk_bytes_per_s: has(Limit::Disk).then_some(bytes_per_s),
            low_disk_percent: u64::from(self.low_disk_percent),
            files: has(Limit::Files),
        }
    }
}
