//! Atomics, as in `std::sync::atomic`.
//!
//! In a simulation each operation is a step, and all of them are sequentially
//! consistent: one thread runs at a time, so a weaker `Ordering` is accepted
//! and makes no difference. Bugs of memory ordering are not found here.
//!
//! ```
//! use labsim::sync::atomic::{AtomicU64, Ordering};
//! use labsim::{Config, simulate, thread};
//! let outcome = simulate(Config::seed(1), || {
//!     let count = AtomicU64::new(0);
//!     thread::scope(|scope| {
//!         for name in ["one", "two"] {
//!             scope.spawn(name, || count.fetch_add(1, Ordering::Relaxed));
//!         }
//!     });
//!     count.load(Ordering::Relaxed)
//! });
//! assert_eq!(outcome.result.unwrap(), 2);
//! ```
//!
//! Boundary: single words. For more than one, use a lock.

use std::panic::Location;

pub use std::sync::atomic::Ordering;

use crate::context::step;

macro_rules! atomic {
    ($(#[$doc:meta])* $name:ident, $value:ty) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $name {
            word: std::sync::atomic::$name,
        }

        impl $name {
            /// An atomic that holds `value`.
            pub const fn new(value: $value) -> Self {
                Self { word: std::sync::atomic::$name::new(value) }
            }

            /// The value.
            #[inline]
            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                step(Location::caller());
                self.word.load(order)
            }

            /// Sets the value.
            #[inline]
            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                step(Location::caller());
                self.word.store(value, order);
            }

            /// Sets the value and returns the one before.
            #[inline]
            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                step(Location::caller());
                self.word.swap(value, order)
            }

            /// Sets the value to `new` if it is `current`.
            ///
            /// # Errors
            ///
            /// The value found, if it was another.
            #[inline]
            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step(Location::caller());
                self.word.compare_exchange(current, new, success, failure)
            }

            /// As [`compare_exchange`](Self::compare_exchange): nothing fails
            /// here without a reason, in a simulation.
            ///
            /// # Errors
            ///
            /// The value found, if it was another; outside of simulations, now
            /// and then also if it was not.
            #[inline]
            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                step(Location::caller());
                self.word.compare_exchange_weak(current, new, success, failure)
            }

            /// Changes the value by `update`, all at once. Returns the value
            /// before.
            ///
            /// # Errors
            ///
            /// The value found, if `update` wanted no other.
            #[inline]
            #[track_caller]
            pub fn fetch_update(
                &self,
                set_order: Ordering,
                fetch_order: Ordering,
                update: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                step(Location::caller());
                self.word.fetch_update(set_order, fetch_order, update)
            }

            /// The value, with no need to be atomic.
            pub fn get_mut(&mut self) -> &mut $value {
                self.word.get_mut()
            }

            /// The value, and the atomic gone.
            pub fn into_inner(self) -> $value {
                self.word.into_inner()
            }
        }
    };
}

macro_rules! arithmetic {
    ($name:ident, $value:ty) => {
        impl $name {
            /// Adds, wrapping around, and returns the value before.
            #[inline]
            #[track_caller]
            pub fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                step(Location::caller());
                self.word.fetch_add(value, order)
            }

            /// Subtracts, wrapping around, and returns the value before.
            #[inline]
            #[track_caller]
            pub fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                step(Location::caller());
                self.word.fetch_sub(value, order)
            }

            /// Keeps the greater of two values and returns the one before.
            #[inline]
            #[track_caller]
            pub fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                step(Location::caller());
                self.word.fetch_max(value, order)
            }

            /// Keeps the lesser of two values and returns the one before.
            #[inline]
            #[track_caller]
            pub fn fetch_min(&self, value: $value, order: Ordering) -> $value {
                step(Location::caller());
                self.word.fetch_min(value, order)
            }
        }
    };
}

atomic!(
    /// A flag.
    AtomicBool,
    bool
);
atomic!(
    /// A signed 32-bit word.
    AtomicI32,
    i32
);
atomic!(
    /// A signed 64-bit word.
    AtomicI64,
    i64
);
atomic!(
    /// A 32-bit word.
    AtomicU32,
    u32
);
atomic!(
    /// A 64-bit word.
    AtomicU64,
    u64
);
atomic!(
    /// A word the size of an index.
    AtomicUsize,
    usize
);

impl AtomicBool {
    /// "And" with `value`. Returns the value before.
    #[inline]
    #[track_caller]
    pub fn fetch_and(&self, value: bool, order: Ordering) -> bool {
        step(Location::caller());
        self.word.fetch_and(value, order)
    }

    /// "Or" with `value`. Returns the value before.
    #[inline]
    #[track_caller]
    pub fn fetch_or(&self, value: bool, order: Ordering) -> bool {
        step(Location::caller());
        self.word.fetch_or(value, order)
    }

    /// "Exclusive or" with `value`. Returns the value before.
    #[inline]
    #[track_caller]
    pub fn fetch_xor(&self, value: bool, order: Ordering) -> bool {
        step(Location::caller());
        self.word.fetch_xor(value, order)
    }
}

arithmetic!(AtomicI32, i32);
arithmetic!(AtomicI64, i64);
arithmetic!(AtomicU32, u32);
arithmetic!(AtomicU64, u64);
arithmetic!(AtomicUsize, usize);
