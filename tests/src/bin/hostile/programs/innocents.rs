//! Programs that do nothing wrong: their neighbours must not cost them a thing.
//!
//! Boundary: two tests, the first and the last of the registry.

use labsim::thread;
use labsim::time::Duration;
use tests::harness::Lab;
use tests::suites::Part;

use super::Program;

pub(super) const FIRST: Part = Part { name: "first", title: "an innocent" };
pub(super) const LAST: Part = Part { name: "last", title: "another innocent" };

pub(super) const BEFORE: &[Program] = &[Program::good(FIRST, "innocent_first", innocent)];
pub(super) const AFTER: &[Program] = &[Program::good(LAST, "innocent_last", innocent)];

fn innocent(_: &Lab) {
    println!("nobody needs to read this");
    let other = thread::spawn("other", || thread::sleep(Duration::from_millis(10)));
    other.join().expect("it only sleeps");
}
