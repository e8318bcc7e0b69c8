//! Allocations of every operation on every sample by every library: `OPERATION SAMPLE LIBRARY COUNT` a line.

use codex_bench::{LIBRARIES, OPERATIONS, SAMPLES, operation};

fn main() {
    for sample in &SAMPLES {
        for name in OPERATIONS {
            for library in LIBRARIES {
                let mut run = operation(library, name, sample).expect("names of the lists");
                // Whatever is made once is made here.
                run();
                let counted = allocation_counter::measure(&mut run).count_total;
                println!("{name} {} {library} {counted}", sample.name);
            }
        }
    }
}
