# Short names for the commands of the README. Each of them is one cargo command.

PARTS := 2a 2b 2c 2d 3a 3b

# BEGIN COURSE
# STUB .PHONY: help lab test check real $(PARTS)
.PHONY: help lab test check bench real bugs $(PARTS)
# END COURSE

help:
	@echo "make 2a     the tests of a part, as cargo runs them: $(PARTS)"
	@echo "make lab    all graded parts, many seeds, a report card"
	@echo "make test   everything that has a test"
	@echo "make check  format, lints and docs"
# BEGIN COURSE
	@echo "make bugs   known bugs in a copy of the solution, and what finds them"
	@echo "make bench  what the simulator costs, and what watching does"
# END COURSE
	@echo "make real   part 2A on OS threads, in real time"

$(PARTS):
	cargo test $@

lab:
	cargo lab run

test:
	cargo test --workspace --no-fail-fast

check:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

real:
	cargo lab run 2a --real

# BEGIN COURSE
bugs:
	cargo lab bugs

bench:
	cargo bench -p labsim
	cargo bench -p tests
# END COURSE
