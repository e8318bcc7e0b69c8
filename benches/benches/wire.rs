//! Every operation on every sample by every library, one after the other in one process, by processor time: another
//! program on the machine then costs the figures little.
#![allow(missing_docs, reason = "criterion's macros make items without")]

use std::time::Duration;

use codex_bench::{LIBRARIES, OPERATIONS, SAMPLES, operation};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};

/// Processor time of this thread.
struct ProcessorTime;

impl Measurement for ProcessorTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn wire(criterion: &mut Criterion<ProcessorTime>) {
    for sample in &SAMPLES {
        for name in OPERATIONS {
            let mut group = criterion.benchmark_group(format!("{name}-{}", sample.name));
            group.throughput(Throughput::Elements(1));
            for library in LIBRARIES {
                let mut run = operation(library, name, sample).expect("names of the lists");
                group.bench_function(library, |bencher| bencher.iter(&mut run));
            }
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(ProcessorTime).without_plots();
    targets = wire
}
criterion_main!(benches);
