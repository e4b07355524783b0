//! Boundary: tests.
