//! The watchdog: another OS thread that sees when a simulation gets no further.
//!
//! Whatever goes through labsim is under the scheduler's eye. What does not, is
//! not: a loop that calls nothing, a lock of std's that will never open, a read
//! from a terminal, a stack that overflows, memory without end. One thread of
//! the process therefore looks at all running simulations a few times a second.
//! A run that takes no step although it had the processor for some seconds, or
//! that waits for the machine, is asked where it is, and its outcome is sent from
//! here. Its own OS thread cannot be ended. It is *abandoned*: it sleeps, or
//! spins on, until the process ends, or until its next call into labsim.
//!
//! A run that takes steps, but has used up its CPU time or the memory of the
//! process, is ordered to fail at the next one.
//!
//! What is measured is the CPU time of the thread, so a busy machine raises no
//! alarm. Under a debugger nothing is measured at all: a thread at a breakpoint
//! takes no steps either.
//!
//! | file | is |
//! |---|---|
//! | `mod.rs` | the rounds; how a run obeys |
//! | `pulse.rs` | one run, as other OS threads see it; who tells its outcome |
//! | `usage.rs` | what the system tells of a thread, and of the process |
//! | `verdict.rs` | what is made of that |
//! | `slow.rs` | the limit on CPU time |
//!
//! Boundary: reads what runs publish, and `/proc` on Linux. Two verdicts on a run
//! that still takes steps depend on the machine: its CPU time, and its memory.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::core::{Core, Place};
use super::ending;
use crate::outcome::{Failure, FailureKind};

mod pulse;
mod slow;
mod usage;
mod verdict;

pub(super) use self::pulse::{Fate, Pulse};
use self::pulse::{Order, RUN_BEGAN, RUNS, Seen};
pub(super) use self::usage::is_traced;
use self::usage::{memory_in_use, usage_of};

/// How often the watchdog looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts the watchdog's thread if there is none.
///
/// Never on the OS thread of a run. What a thread is started with it frees, and
/// glibc gives out such memory again to the same thread, but grows and frees it
/// under a lock of the thread that had asked for it: a run that is caught in the
/// allocator holds that for ever.
pub(super) fn start_watchdog() {
    static STARTED: AtomicBool = AtomicBool::new(false);
    if STARTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let watchdog = std::thread::Builder::new().name("watchdog".to_owned());
    watchdog.spawn(watch).expect("the operating system refuses another thread");
}

fn watch() {
    loop {
        let mut runs = RUNS.lock();
        while runs.is_empty() {
            RUN_BEGAN.wait(&mut runs);
        }
        drop(runs);
        std::thread::sleep(LOOK_EVERY);
        ending::pass(LOOK_EVERY);
        let runs = RUNS.lock();
        for pulse in runs.iter() {
            pulse.look();
        }
        let used = memory_in_use();
        // Of several runs, the one that touches most new memory is at fault.
        let greedy = runs.iter().filter(|pulse| !pulse.is_over()).max_by_key(|pulse| pulse.seen.lock().new_page_faults);
        if let Some(pulse) = greedy {
            let grown = pulse.grown(used);
            if grown > pulse.memory_limit.load(Ordering::Relaxed) && !is_traced() {
                pulse.judge_memory(grown);
            }
        }
    }
}

impl Pulse {
    /// Looks at the run once. The list of runs is locked meanwhile, so the run's
    /// OS thread exists.
    fn look(&self) {
        if self.is_over() {
            return;
        }
        let answer = self.trap.take();
        if let Some(catch) = answer.as_ref().filter(|catch| pulse::is_fatal(catch)) {
            self.judge_catch(catch);
            return;
        }
        let Some(id) = self.thread_id() else { return };
        let usage = usage_of(id);
        if let Some((used, limit)) = self.stall(&usage) {
            self.judge_stall(used, limit);
        } else if let Some(failure) = self.spend(&usage, answer) {
            self.give_up(failure, self.grows(), usage.cpu);
        }
    }

    /// Counts how long the run has taken no step. Returns the CPU time that it has
    /// used without one, and the limit, if it is past that.
    fn stall(&self, usage: &usage::Usage) -> Option<(Duration, Duration)> {
        let mut seen = self.seen.lock();
        seen.new_page_faults = usage.page_faults.saturating_sub(seen.page_faults);
        seen.page_faults = usage.page_faults;
        let steps = self.steps.load(Ordering::Relaxed);
        // While it waits for another simulation, that one answers for itself.
        if steps != seen.steps || self.waits_for_another() {
            let (still_for, asleep_for, memory) = (Duration::ZERO, Duration::ZERO, memory_in_use());
            *seen = Seen { steps, cpu: usage.cpu, still_for, asleep_for, still_page_faults: 0, memory, ..*seen };
            return None;
        }
        seen.still_page_faults += seen.new_page_faults;
        seen.still_for += LOOK_EVERY;
        // A thread that works is asleep for a moment now and then: on a page
        // fault, or for the allocator's lock.
        seen.asleep_for = if usage.is_asleep { seen.asleep_for + LOOK_EVERY } else { Duration::ZERO };
        let limit = self.stall_limit();
        let used = usage.cpu.saturating_sub(seen.cpu);
        // Where the CPU time of a thread cannot be had, time must do.
        let has_had_its_turn = seen.asleep_for >= limit / 2 || !usage.is_known || used >= limit / 2;
        (seen.still_for >= limit && has_had_its_turn).then_some((used, limit))
    }
}

impl Core {
    /// Publishes that the run takes steps.
    #[inline]
    pub(super) fn beat(&self) {
        if let Some(pulse) = self.pulse.get() {
            pulse.steps.store(self.steps.get(), Ordering::Relaxed);
        }
    }

    /// Publishes where the run is. May be called in a signal handler.
    pub(super) fn publish_position(&self) {
        if let Some(pulse) = self.pulse.get() {
            pulse.steps.store(self.steps.get(), Ordering::Relaxed);
            pulse.nanos.store(self.now.get(), Ordering::Relaxed);
            pulse.hash.store(self.hash.get(), Ordering::Relaxed);
        }
    }

    /// Obeys the watchdog. Stops for ever if the outcome of this run has been
    /// told; fails the run if it is too slow, or to blame for the process's
    /// memory. Returns whether it has failed now.
    #[inline]
    pub(super) fn obey_watchdog(&self, place: Option<Place>) -> bool {
        self.pulse.get().is_some_and(|pulse| pulse.has_orders() && self.obey(pulse, place))
    }

    #[cold]
    fn obey(&self, pulse: &Pulse, place: Option<Place>) -> bool {
        if pulse.is_over() {
            loop {
                std::thread::park();
            }
        }
        if self.stopping.get() {
            return false;
        }
        match pulse.take_order() {
            None => return false,
            Some(Order::OutOfMemory) => {
                // Between two threads it is the one that has just run, where it stopped.
                let stopped = || Some(self.schedule.borrow().slots.get(self.current.get() as usize)?.place);
                let message = format!(
                    "the run has taken {} MiB of memory, and its limit is below that; thread `{}` was running",
                    pulse.grown(memory_in_use()) >> 20,
                    self.current_name()
                );
                self.fail(FailureKind::Memory, message, place.or_else(stopped));
            }
            Some(Order::TooSlow(too_slow)) => {
                // Not who takes this step is to blame, but who was seen.
                let failure: Failure = too_slow.into_failure(Duration::from_nanos(self.now.get()));
                self.with_world(|world| world.fail(failure));
                self.stopping.set(true);
            }
        }
        true
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::channel;
    use crate::outcome::{Config, Outcome, Preemption};
    use crate::sync::{Arc, Mutex};
    use crate::{simulate, thread};

    /// About a second's worth.
    const ROUNDS: usize = 4000;

    /// Switches at every step, starts threads and lets them end. Tells `begun` of
    /// its pulse.
    fn restless(begun: mpsc::Sender<&'static Pulse>) -> Outcome<u64> {
        let config = Config { busy_limit: u64::MAX, ..Config::seed(7) };
        simulate(config.preemption(Preemption::OneIn(1)), move || {
            crate::sim::with(|core| begun.send(core.pulse.get().expect("it runs")).expect("somebody listens"));
            let total = Arc::new(Mutex::new(0));
            for _ in 0..ROUNDS {
                let (tx, rx) = channel::bounded(1);
                let adders = [(); 4].map(|()| {
                    let (total, tx) = (Arc::clone(&total), tx.clone());
                    thread::spawn("adder", move || {
                        for number in 0..50 {
                            *total.lock() += number;
                            let _ = tx.try_send(number);
                        }
                    })
                });
                while rx.try_recv().is_err() {
                    thread::sleep(Duration::from_micros(3));
                }
                adders.into_iter().for_each(|adder| adder.join().unwrap());
            }
            *total.lock()
        })
    }

    /// Thousands of times, wherever it is, also between two stacks.
    #[test]
    fn a_run_does_not_notice_that_it_is_asked() {
        let (begun_tx, begun_rx) = mpsc::channel();
        let quiet = restless(begun_tx);
        drop(begun_rx);

        let (begun_tx, begun_rx) = mpsc::channel::<&'static Pulse>();
        let asker = std::thread::spawn(move || {
            let (mut asked, mut answered, mut named) = (0_u64, 0, 0);
            let Ok(pulse) = begun_rx.recv() else { return (0, 0, 0) };
            while pulse.thread_id().is_some() {
                pulse.ask();
                asked += 1;
                for _ in 0..3000 {
                    if let Some(catch) = pulse.trap.take() {
                        assert!(!pulse::is_fatal(&catch));
                        answered += 1;
                        named += u64::from(catch.thread == "adder" && catch.addresses.len() > 5);
                        break;
                    }
                    std::hint::spin_loop();
                }
            }
            (asked, answered, named)
        });
        let asked = restless(begun_tx);
        let (count, answered, named) = asker.join().unwrap();
        println!("asked {count} times, {answered} answers, {named} by an adder");
        assert!(answered > 20 && named > 5, "of {count}, {answered} were answered, {named} by an adder");
        let facts = |outcome: Outcome<u64>| (outcome.hash, outcome.steps, outcome.elapsed, outcome.result.unwrap());
        assert_eq!(facts(asked), facts(quiet));
    }
}
