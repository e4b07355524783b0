//! What std asks the machine, answered by the simulation. Linux with glibc only.
//!
//! A careless student's program takes its time from `std::time`, its chance from
//! `rand::rng()`, and an order from a `HashMap`. All of these end in a few
//! functions of the C library. A program that says [`interpose!`](crate::interpose!)
//! has functions of those names itself, so that the linker takes these and not the
//! library's:
//!
//! | function | std's name for it | inside a simulation |
//! |---|---|---|
//! | `getrandom` | the keys of `HashMap`, the seed of `rand::rng()` | drawn from the seed |
//! | `clock_gettime` | `Instant::now`, `SystemTime::now` | virtual time; each reading costs a step of it |
//! | `nanosleep`, `clock_nanosleep` | `thread::sleep` | the run fails, and says who slept where |
//! | `pthread_create` | `thread::spawn` | the same |
//! | `exit` | `process::exit` | the same, and then the process ends |
//!
//! Outside of a simulation each goes on to the library's own, found once by
//! `dlsym` and remembered: no more than a jump. CPU-time clocks always do.
//!
//! Not covered: a program that is linked statically, one that makes system calls
//! by itself, and other systems. There `--check-determinism` finds what differs.
//!
//! Boundary: unsafe code, by the C library's contracts. What a draw or a reading
//! is comes from the core.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[doc(hidden)]
pub use self::glibc::*;

/// Makes std's clocks, its `HashMap` and `rand::rng()` obey the seed inside
/// simulations, and makes `std::thread::sleep` and `spawn` fail there. To be said
/// once, at the top level of a library or program that runs simulations:
///
/// ```
/// labsim::interpose!();
///
/// # fn main() {
/// let order = || {
///     let set: std::collections::HashSet<u32> = (0..100).collect();
///     set.into_iter().collect::<Vec<_>>()
/// };
/// let run = |seed| labsim::simulate(labsim::Config::seed(seed), order).result.unwrap();
/// # if cfg!(all(target_os = "linux", target_env = "gnu")) {
/// assert_eq!(run(1), run(1));
/// assert_ne!(run(1), run(2));
/// # }
/// # }
/// ```
///
/// It defines functions named as in the C library, so it can be said only once in
/// a program. On systems other than Linux with glibc it does nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[macro_export]
macro_rules! interpose {
    () => {
        /// The C library's functions that a simulation answers itself.
        #[doc(hidden)]
        pub mod interposed {
            // SAFETY: each name is one of the C library's and each signature is the
            // library's for that name, so that whoever calls it gets what its
            // contract says. That it is this definition that is called, and not the
            // library's, is how symbols are looked up: the program's come first.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn getrandom(
                buffer: *mut ::std::ffi::c_void,
                length: usize,
                flags: ::std::ffi::c_uint,
            ) -> isize {
                // SAFETY: passed on as it came.
                unsafe { $crate::interposed::getrandom(buffer, length, flags) }
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn clock_gettime(
                clock: ::std::ffi::c_int,
                time: *mut $crate::interposed::timespec,
            ) -> ::std::ffi::c_int {
                // SAFETY: passed on as it came.
                unsafe { $crate::interposed::clock_gettime(clock, time) }
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn nanosleep(
                time: *const $crate::interposed::timespec,
                rest: *mut $crate::interposed::timespec,
            ) -> ::std::ffi::c_int {
                // SAFETY: passed on as it came.
                unsafe { $crate::interposed::nanosleep(time, rest) }
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn clock_nanosleep(
                clock: ::std::ffi::c_int,
                flags: ::std::ffi::c_int,
                time: *const $crate::interposed::timespec,
                rest: *mut $crate::interposed::timespec,
            ) -> ::std::ffi::c_int {
                // SAFETY: passed on as it came.
                unsafe { $crate::interposed::clock_nanosleep(clock, flags, time, rest) }
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn pthread_create(
                thread: *mut $crate::interposed::pthread_t,
                attributes: *const $crate::interposed::pthread_attr_t,
                start: extern "C" fn(*mut ::std::ffi::c_void) -> *mut ::std::ffi::c_void,
                argument: *mut ::std::ffi::c_void,
            ) -> ::std::ffi::c_int {
                // SAFETY: passed on as it came.
                unsafe { $crate::interposed::pthread_create(thread, attributes, start, argument) }
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn exit(status: ::std::ffi::c_int) -> ! {
                // SAFETY: passed on as it came.
                unsafe { $crate::interposed::exit(status) }
            }
        }
    };
}

/// Makes std's clocks and chance obey the seed, on Linux with glibc. Here it does
/// nothing: run `--check-determinism` to find what does not.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
#[macro_export]
macro_rules! interpose {
    () => {};
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use std::ffi::{CStr, c_int, c_uint, c_void};
    use std::sync::atomic::{AtomicPtr, Ordering};
    use std::time::Duration;

    pub use libc::{pthread_attr_t, pthread_t, timespec};

    use crate::context::{self, Mode};
    use crate::sim;

    /// Virtual time zero on the clocks that count from an unknown moment: a day,
    /// so that a program may look an hour back.
    const MONOTONIC_ORIGIN: Duration = Duration::from_secs(24 * 60 * 60);
    /// Virtual time zero in calendars: the start of 2024.
    const CALENDAR_ORIGIN: Duration = Duration::from_secs(1_704_067_200);

    /// The next definition of a function, which is the C library's.
    struct Next {
        name: &'static CStr,
        address: AtomicPtr<c_void>,
    }

    impl Next {
        const fn new(name: &'static CStr) -> Self {
            Self { name, address: AtomicPtr::new(std::ptr::null_mut()) }
        }

        #[inline]
        fn address(&self) -> *mut c_void {
            let known = self.address.load(Ordering::Relaxed);
            if known.is_null() { self.look_up() } else { known }
        }

        #[cold]
        fn look_up(&self) -> *mut c_void {
            // SAFETY: the name is a C string, and RTLD_NEXT is a handle that
            // `dlsym` takes.
            let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
            if found.is_null() {
                // Nothing can be printed or unwound from within `exit` or a clock.
                std::process::abort();
            }
            self.address.store(found, Ordering::Relaxed);
            found
        }
    }

    /// Calls the next definition of a function with the same arguments.
    macro_rules! forward {
        ($name:ident as $signature:ty, $($argument:expr),+) => {{
            static NEXT: Next = Next::new(
                // The macro's argument is the symbol's name.
                match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => panic!("it ends in a nul"),
                },
            );
            // SAFETY: the address is that of the C library's function of this name,
            // which is never unloaded and has this signature. The arguments are the
            // caller's, who keeps that function's contract.
            unsafe {
                let function = std::mem::transmute::<*mut c_void, $signature>(NEXT.address());
                function($($argument),+)
            }
        }};
    }

    fn is_simulated() -> bool {
        context::mode() == Mode::Simulated
    }

    /// As getrandom(2).
    ///
    /// # Safety
    ///
    /// `buffer` must be valid for writes of `length` bytes.
    pub unsafe fn getrandom(buffer: *mut c_void, length: usize, flags: c_uint) -> isize {
        if !is_simulated() {
            return forward!(
                getrandom as unsafe extern "C" fn(*mut c_void, usize, c_uint) -> isize,
                buffer,
                length,
                flags
            );
        }
        let mut at = buffer.cast::<u8>();
        let mut left = length;
        while left > 0 {
            let bytes = sim::with(sim::Core::draw_entropy).to_le_bytes();
            let count = left.min(bytes.len());
            // SAFETY: `count` bytes are left of the caller's buffer, from `at` on,
            // and `bytes` holds as many. They are different objects.
            unsafe {
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, count);
                at = at.add(count);
            }
            left -= count;
        }
        length as isize
    }

    /// As clock_gettime(3).
    ///
    /// # Safety
    ///
    /// `time` must be valid for writes.
    #[inline]
    pub unsafe fn clock_gettime(clock: c_int, time: *mut timespec) -> c_int {
        let origin = match clock {
            _ if !is_simulated() => None,
            libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE | libc::CLOCK_TAI => Some(CALENDAR_ORIGIN),
            libc::CLOCK_MONOTONIC | libc::CLOCK_MONOTONIC_RAW | libc::CLOCK_MONOTONIC_COARSE | libc::CLOCK_BOOTTIME => {
                Some(MONOTONIC_ORIGIN)
            }
            _ => None,
        };
        let Some(origin) = origin else {
            return forward!(clock_gettime as unsafe extern "C" fn(c_int, *mut timespec) -> c_int, clock, time);
        };
        let now = origin + Duration::from_nanos(sim::with(sim::Core::read_clock));
        // SAFETY: the caller's, who may write there.
        unsafe {
            (*time).tv_sec = now.as_secs() as libc::time_t;
            (*time).tv_nsec = now.subsec_nanos().into();
        }
        0
    }

    /// As nanosleep(2).
    ///
    /// # Safety
    ///
    /// Both must be valid, or `rest` null.
    pub unsafe fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int {
        if is_simulated() {
            sim::with(|core| core.leave_world("sleeps by std::thread::sleep; use labsim::thread::sleep"));
        }
        forward!(nanosleep as unsafe extern "C" fn(*const timespec, *mut timespec) -> c_int, time, rest)
    }

    /// As clock_nanosleep(2).
    ///
    /// # Safety
    ///
    /// Both must be valid, or `rest` null.
    pub unsafe fn clock_nanosleep(clock: c_int, flags: c_int, time: *const timespec, rest: *mut timespec) -> c_int {
        if is_simulated() {
            sim::with(|core| core.leave_world("sleeps by std::thread::sleep; use labsim::thread::sleep"));
        }
        forward!(
            clock_nanosleep as unsafe extern "C" fn(c_int, c_int, *const timespec, *mut timespec) -> c_int,
            clock,
            flags,
            time,
            rest
        )
    }

    /// As pthread_create(3).
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn pthread_create(
        thread: *mut pthread_t,
        attributes: *const pthread_attr_t,
        start: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int {
        if is_simulated() {
            sim::with(|core| core.leave_world("starts an OS thread; use labsim::thread::spawn"));
        }
        forward!(
            pthread_create
                as unsafe extern "C" fn(
                    *mut pthread_t,
                    *const pthread_attr_t,
                    extern "C" fn(*mut c_void) -> *mut c_void,
                    *mut c_void,
                ) -> c_int,
            thread,
            attributes,
            start,
            argument
        )
    }

    /// As exit(3). From inside a simulation the process ends a little later, when
    /// whoever runs the simulation has told what happened.
    ///
    /// # Safety
    ///
    /// As there.
    pub unsafe fn exit(status: c_int) -> ! {
        let mut status = status;
        if is_simulated() {
            sim::with(|core| core.leave_program(status));
            context::set_mode(Mode::Outside);
            status = sim::wait_to_leave(status);
        }
        forward!(exit as unsafe extern "C" fn(c_int) -> !, status)
    }
}
