//! Signals: how a simulation survives what would end the process, and how it is
//! asked from outside where it is.
//!
//! | signal | means | here |
//! |---|---|---|
//! | SIGSEGV, SIGBUS | a simulated thread has overflowed its stack, if the address is in its guard page | noted; the OS thread sleeps for ever |
//! | the same, SIGILL, SIGFPE | unsafe code went wrong, anywhere else | the same |
//! | SIGABRT | a destructor panicked during unwinding, or something called `abort` | the same |
//! | SIGURG | the watchdog asks where the thread is | noted; the thread goes on |
//!
//! All are noted only on the OS thread of a simulation, while it simulates;
//! anywhere else the handler that was there before decides, as it does of what
//! somebody has sent. Signals are the process's: a program that installs its own
//! handlers later loses these reports and nothing else.
//!
//! Boundary: unsafe code, on Unix. What is noted goes to `trap.rs`; what it means
//! is decided by `watchdog`, on another thread.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::fiber;
use super::trap::Caught;
use crate::context::{self, Mode};

/// The signal that asks a thread where it is. It is ignored by default, so a
/// stray one hurts nobody.
const ASK: libc::c_int = libc::SIGURG;

/// Bytes for the handlers to run on. The unwinder alone takes several thousand.
const ALTERNATE_STACK_BYTES: usize = 64 * 1024;

/// The code of a signal that `kill` sent. Other ways of sending have codes below
/// it, and faults have codes above.
const SENT_BY_KILL: libc::c_int = 0;

/// What was installed before, for signals that are not ours to handle.
static PREVIOUS: [AtomicPtr<libc::sigaction>; FATAL.len()] = [const { AtomicPtr::new(ptr::null_mut()) }; FATAL.len()];
const FATAL: [libc::c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGILL, libc::SIGFPE];

/// Installs the handlers, once for the process.
pub(super) fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for (previous, signal) in PREVIOUS.iter().zip(FATAL) {
            // Not blocked meanwhile: a handler that meets a fault ends in another.
            let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            if let Some(action) = set_handler(signal, on_fatal, flags) {
                previous.store(Box::leak(Box::new(action)), Ordering::Release);
            }
        }
        set_handler(ASK, on_ask, libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART);
    });
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

fn set_handler(signal: libc::c_int, handler: Handler, flags: libc::c_int) -> Option<libc::sigaction> {
    // SAFETY: all of `sigaction` is integers, for which zero is a value; `sa_mask`
    // is then made empty by the function for it. The handler has the signature
    // that SA_SIGINFO asks for and is never unloaded. `previous` is written in
    // full if the call succeeds, and not read otherwise.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = flags;
        libc::sigemptyset(&raw mut action.sa_mask);
        let mut previous = MaybeUninit::uninit();
        let done = libc::sigaction(signal, &raw const action, previous.as_mut_ptr());
        (done == 0).then(|| previous.assume_init())
    }
}

/// A stack overflow, another fault or an abort, or what looks like one.
extern "C" fn on_fatal(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    if context::mode() == Mode::Simulated {
        // SAFETY: the kernel passes a valid `siginfo_t` to a handler installed with
        // SA_SIGINFO. Its address field is meaningful for faults, and merely a
        // number otherwise.
        let (address, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
        if let Some(caught) = meaning(signal, code, address) {
            note(caught);
            sleep_for_ever();
        }
    }
    let at = FATAL.iter().position(|fatal| *fatal == signal);
    let previous = at.map_or(ptr::null_mut(), |at| PREVIOUS[at].load(Ordering::Acquire));
    // SAFETY: `previous` is null or a leaked box, filled before it was stored.
    // Giving the signal back to whoever had it and returning makes a fault happen
    // again, this time to them. One that was sent would be lost: it is raised once
    // more, and as this handler does not block it, is over when `raise` returns.
    // std's handler then puts the default back and relies on the fault to happen
    // again as well, so once more for that. All these functions may be called in
    // a handler, `info` is valid, as above, and `now` is written if `sigaction`
    // succeeds, and not read otherwise.
    unsafe {
        if previous.is_null() {
            libc::signal(signal, libc::SIG_DFL);
        } else {
            libc::sigaction(signal, previous, ptr::null_mut());
        }
        if (*info).si_code <= SENT_BY_KILL {
            libc::raise(signal);
            let mut now = MaybeUninit::<libc::sigaction>::uninit();
            let is_known = libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) == 0;
            if is_known && now.assume_init_ref().sa_sigaction == libc::SIG_DFL {
                libc::raise(signal);
            }
        }
    }
}

/// What the running simulated thread was caught in; `None` if the signal is
/// meant for the process.
fn meaning(signal: libc::c_int, code: libc::c_int, address: usize) -> Option<Caught> {
    match signal {
        // What another process sends is meant for this one, and not for a thread.
        libc::SIGABRT => (code != SENT_BY_KILL).then_some(Caught::Abort),
        _ if code <= SENT_BY_KILL => None,
        libc::SIGSEGV | libc::SIGBUS if fiber::is_in_guard(address) => Some(Caught::StackOverflow),
        libc::SIGSEGV => Some(Caught::Segv),
        libc::SIGBUS => Some(Caught::Bus),
        libc::SIGILL => Some(Caught::Ill),
        libc::SIGFPE => Some(Caught::Fpe),
        _ => None,
    }
}

extern "C" fn on_ask(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // Between two stacks there is no stack to walk.
    if context::mode() == Mode::Simulated && !fiber::is_switching() {
        note(Caught::Sampled);
    }
}

/// Stores where the thread is, and which simulated thread runs.
///
/// Allocates nothing, takes no lock and makes no system call, so that `errno`
/// stays: reads thread-locals that need no initialisation, and writes atomics.
fn note(caught: Caught) {
    super::with(|core| {
        let Some(pulse) = core.pulse.get() else { return };
        if !pulse.trap.begin(caught) {
            // What is fatal comes twice if noting it has met a fault: then what
            // has been noted must do. No sample interrupts one that is fatal.
            if caught != Caught::Sampled {
                pulse.trap.finish();
            }
            return;
        }
        core.publish_position();
        core.name_current(|name, node| pulse.trap.set_thread(name, node));
        // SAFETY: the crate asks that nobody else use it at the same time because
        // on some systems its unwinder is not safe for threads. On Unix it is
        // `_Unwind_Backtrace`, which is: it reads the stack of the calling thread
        // and the tables of the loaded objects. In a handler it may meet the lock
        // of those tables in its own thread's hands (inside `dlopen`), and that
        // lock is recursive. The closure stores into atomics, and does not
        // resolve, print or allocate.
        unsafe {
            backtrace::trace_unsynchronized(|frame| {
                pulse.trap.add(frame.ip() as usize);
                true
            });
        }
        pulse.trap.finish();
    });
}

fn sleep_for_ever() -> ! {
    loop {
        // SAFETY: waits for a signal; allowed in a handler.
        unsafe { libc::pause() };
    }
}

/// Ends the process, whatever its locks are in. `text` goes to standard error.
pub(super) fn end_at_once(text: &str, code: i32) -> ! {
    // SAFETY: the text is valid for reads of its length; a standard error that is
    // closed makes `write` fail, which changes nothing. `_exit` runs no handler
    // and takes no lock.
    unsafe {
        libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len());
        libc::_exit(code)
    }
}

/// An OS thread that can be asked where it is.
#[derive(Debug)]
pub(super) struct OsThread {
    /// A `pthread_t`, which is a number on some systems and a pointer on others,
    /// and here a number, for it is handed to the watchdog's thread.
    thread: usize,
    /// The kernel's number for it; 0 where there is none.
    pub(super) id: i32,
}

impl OsThread {
    /// The calling one.
    pub(super) fn current() -> Self {
        // SAFETY: has no preconditions.
        let thread = unsafe { libc::pthread_self() } as usize;
        #[cfg(target_os = "linux")]
        // SAFETY: has no preconditions.
        let id = unsafe { libc::gettid() };
        #[cfg(not(target_os = "linux"))]
        let id = 0;
        Self { thread, id }
    }

    /// Makes the thread note where it is. It must not have ended: the caller
    /// holds the lock under which a thread takes itself off the list.
    pub(super) fn ask(&self) {
        // SAFETY: the thread exists, as said above, so its handle is valid. The
        // handler was installed before any simulation began.
        unsafe { libc::pthread_kill(self.thread as libc::pthread_t, ASK) };
    }
}

/// A stack for the handlers of the calling OS thread: its own may be full.
pub(super) struct AlternateStack {
    _bytes: Box<[MaybeUninit<u8>]>,
    previous: libc::stack_t,
}

impl AlternateStack {
    /// From now until the result is dropped, on the same thread.
    pub(super) fn install() -> Option<Self> {
        let mut bytes = Box::new_uninit_slice(ALTERNATE_STACK_BYTES);
        let new = libc::stack_t { ss_sp: bytes.as_mut_ptr().cast(), ss_flags: 0, ss_size: ALTERNATE_STACK_BYTES };
        let mut previous = MaybeUninit::uninit();
        // SAFETY: the memory is ours alone and outlives its use: it is owned by the
        // value that puts the previous stack back when it is dropped. That value is
        // not `Send`, so this happens on the thread that it was installed on.
        // `previous` is written if the call succeeds, and not read otherwise.
        unsafe {
            let done = libc::sigaltstack(&raw const new, previous.as_mut_ptr());
            (done == 0).then(|| Self { _bytes: bytes, previous: previous.assume_init() })
        }
    }
}

impl Drop for AlternateStack {
    fn drop(&mut self) {
        // SAFETY: what was there before is std's, which its thread takes down
        // after this value is gone, or none. No handler runs on ours now: one that
        // does has not returned to this thread.
        unsafe {
            libc::sigaltstack(&raw const self.previous, ptr::null_mut());
        }
    }
}
