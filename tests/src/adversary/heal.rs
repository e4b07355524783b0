//! The last act: what was mended must work, and soon.
//!
//! A bare majority comes first, by itself. It finds what full strength hides: a
//! quorum that miscounts, a follower that nobody can teach. Then all of them. The
//! limits count from the moment that everything was mended, never from a fault, and
//! are six and four of the longest election timeouts. Nothing before was judged by
//! time.
//!
//! Where only elections are tested, a bare majority must keep its leader besides, while
//! calls to all others hang: whoever calls its peers one after another does not.
//!
//! At last all are killed, and leave no thread behind that waits for ever.
//!
//! Boundary: judges liveness. Safety is watched all the while.

use labsim::time::Duration;
use raft::{Bytes, Index, Term};

use super::plan::Allowed;
use super::stage::Director;

/// What a bare majority has to elect and to commit, in milliseconds.
const CORE_LIMIT_MS: u64 = 3000;
/// What all have then.
const ALL_LIMIT_MS: u64 = 2000;
/// So long a leader must stay whom nobody disturbs, in milliseconds.
const STAY_MS: u64 = 1000;
/// How late a thread may start here, in microseconds.
const START_US_MAX: u64 = 200;
/// After so many milliseconds a leader that has committed nothing is asked again.
const ASK_AGAIN_MS: u64 = 300;

/// Fails the run unless a bare majority, and then all, make progress.
pub(super) fn heal_test(director: &mut Director<'_>, allowed: Allowed) {
    director.mend();
    let lab = director.lab;
    for server in 0..lab.count() {
        lab.set_sync_delay(server, Duration::ZERO);
        lab.set_start_delay(server, Duration::from_micros(START_US_MAX));
    }

    let mut core: Vec<usize> = (0..lab.count()).collect();
    while core.len() > lab.count() / 2 + 1 {
        let away = usize::try_from(lab.below(core.len() as u64)).expect("a few servers");
        core.remove(away);
    }
    core.sort_unstable();
    for one in 0..lab.count() {
        for other in (0..one).filter(|other| !core.contains(&one) || !core.contains(other)) {
            lab.join(one, other, false);
        }
    }
    progress(director, allowed, &core, CORE_LIMIT_MS, "a bare majority");
    if !allowed.commands {
        stays(director, &core);
    }

    lab.heal();
    let all: Vec<usize> = (0..lab.count()).collect();
    progress(director, allowed, &all, ALL_LIMIT_MS, "the whole cluster");
    lab.kill_all();
}

/// Waits until `group` has had one leader, the same all the time, for [`STAY_MS`].
fn stays(director: &mut Director<'_>, group: &[usize]) {
    let lab = director.lab;
    let begun = labsim::elapsed();
    let mut present: Option<(Duration, Vec<(usize, Status)>)> = None;
    let mut changes = 0;
    while labsim::elapsed() < begun + Duration::from_millis(CORE_LIMIT_MS) {
        let statuses = look(director, group);
        match &present {
            Some((since, before)) if *before == statuses => {
                if labsim::elapsed() >= *since + Duration::from_millis(STAY_MS) && one_leads(&statuses) {
                    return;
                }
            }
            _ => {
                changes += 1;
                present = Some((labsim::elapsed(), statuses));
            }
        }
        director.pass(5);
    }
    let message = format!(
        "{} are a majority, hear each other since {:.3}s and had {} s; no leader stayed for {} s: terms and roles changed \
         {changes} times",
        names(group),
        begun.as_secs_f64(),
        seconds(CORE_LIMIT_MS),
        seconds(STAY_MS)
    );
    lab.fail_waiting("NoLeader", begun, group, &message)
}

/// What a server says of itself: its term, and whether it leads. None if it is down.
type Status = Option<(Term, bool)>;

fn look(director: &Director<'_>, group: &[usize]) -> Vec<(usize, Status)> {
    group.iter().map(|server| (*server, director.lab.status(*server))).collect()
}

/// Those that say they lead.
fn leaders(statuses: &[(usize, Status)]) -> Vec<(usize, Term)> {
    let leads = |(server, status): &(usize, Status)| match status {
        Some((term, true)) => Some((*server, *term)),
        _ => None,
    };
    statuses.iter().filter_map(leads).collect()
}

/// One leads, and all are in its term.
fn one_leads(statuses: &[(usize, Status)]) -> bool {
    let is_in = |term: Term| statuses.iter().all(|(_, status)| status.is_some_and(|(other, _)| other == term));
    matches!(leaders(statuses)[..], [(_, term)] if is_in(term))
}

fn names(group: &[usize]) -> String {
    group.iter().map(|server| format!("S{server}")).collect::<Vec<_>>().join(", ")
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// What was offered: where it is to be, when, and to whom.
struct Offer {
    server: usize,
    term: Term,
    index: Index,
    command: Bytes,
    at: Duration,
}

/// Waits until `group` has one leader and, where there are commands, has committed
/// one that was new.
fn progress(director: &mut Director<'_>, allowed: Allowed, group: &[usize], limit_ms: u64, who: &str) {
    let lab = director.lab;
    let mut offers: Vec<Offer> = Vec::new();
    let mut led: Vec<(Term, usize)> = Vec::new();
    let begun = labsim::elapsed();
    while labsim::elapsed() < begun + Duration::from_millis(limit_ms) {
        let statuses = look(director, group);
        let leaders = leaders(&statuses);
        for (server, term) in &leaders {
            if !led.contains(&(*term, *server)) {
                led.push((*term, *server));
            }
        }
        if !allowed.commands {
            if one_leads(&statuses) {
                return;
            }
            director.pass(5);
            continue;
        }

        for (server, term) in leaders {
            let again = Duration::from_millis(ASK_AGAIN_MS);
            let is_asked =
                |offer: &Offer| (offer.server, offer.term) == (server, term) && offer.at + again > labsim::elapsed();
            if !offers.iter().any(is_asked) {
                let command = director.next_command();
                if let Some((index, term)) = lab.start(server, command.clone()) {
                    offers.push(Offer { server, term, index, command, at: labsim::elapsed() });
                }
            }
        }
        let is_done = |offer: &Offer| {
            group.iter().all(|server| lab.applied(*server) >= offer.index) && lab.is_agreed(offer.index, &offer.command)
        };
        if offers.iter().any(is_done) {
            return;
        }
        director.pass(5);
    }

    let rule = if led.is_empty() || !allowed.commands { "NoLeader" } else { "NoProgress" };
    let message = format!(
        "{who} ({}) was mended at {:.3}s and had {} s: {} leaders in it, {} commands taken, none committed by \
         all of it",
        names(group),
        begun.as_secs_f64(),
        seconds(limit_ms),
        led.len(),
        offers.len()
    );
    lab.fail_waiting(rule, begun, group, &message)
}
