//! The macro that spells a selection out.
//!
//! It reads one arm after the other into a list, and then writes the list down
//! three times: to name the ends, to add them, and to finish the one that was
//! selected. Each arm's names are made by the step that reads it, so those of
//! different arms differ, though they are spelled alike.
//!
//! Boundary: syntax. What it calls is in `select.rs`.

/// Takes one of several sends and receives: the first that can go on, or if
/// several can, one of them by the seed.
///
/// It reads as crossbeam's:
///
/// - `recv(rx) -> result => body` receives, and `result` is what
///   [`Receiver::recv`](crate::channel::Receiver::recv) would return;
/// - `send(tx, message) -> result => body` sends. The message is made only if
///   this arm is taken;
/// - `default => body` if no other arm is ready now;
/// - `default(timeout) => body` if none was within a
///   [`Duration`](crate::time::Duration).
///
/// The bodies have one type. An arm whose other end is gone is ready: it fails.
/// In a simulation, a selection that may wait with a lock held fails the run.
///
/// ```
/// use labsim::channel::{bounded, tick, unbounded};
/// use labsim::time::Duration;
/// use labsim::{select, thread};
///
/// let outcome = labsim::simulate(labsim::Config::seed(1), || {
///     let (votes_tx, votes) = unbounded();
///     let (done, is_done) = bounded(0);
///     thread::spawn("voter", move || {
///         for vote in ["yes", "no", "yes"] {
///             thread::sleep(Duration::from_millis(80));
///             votes_tx.send(vote).unwrap();
///         }
///         is_done.recv().unwrap();
///     });
///
///     let heartbeat = tick(Duration::from_millis(50));
///     let (mut count, mut heartbeats) = (0, 0);
///     while count < 3 {
///         select! {
///             recv(votes) -> vote => count += u32::from(vote.is_ok()),
///             recv(heartbeat) -> _ => heartbeats += 1,
///             default(Duration::from_secs(1)) => panic!("no vote and no heartbeat"),
///         }
///     }
///     select! {
///         send(done, ()) -> sent => sent.unwrap(),
///         recv(votes) -> _ => done.send(()).unwrap(), // The voter may have gone.
///     }
///     heartbeats
/// });
/// assert_eq!(outcome.result.unwrap(), 4);
/// ```
#[macro_export]
macro_rules! select {
    // All arms are read.
    (@read [$($arms:tt)*] [$($default:tt)*]) => {
        $crate::select!(@write [$($arms)*] [$($default)*])
    };

    // The default arm.
    (@read [$($arms:tt)*] [] default => $($rest:tt)*) => {
        $crate::select!(@body [$($arms)*] [] [default ()] $($rest)*)
    };
    (@read [$($arms:tt)*] [] default() => $($rest:tt)*) => {
        $crate::select!(@body [$($arms)*] [] [default ()] $($rest)*)
    };
    (@read [$($arms:tt)*] [] default($timeout:expr $(,)?) => $($rest:tt)*) => {
        $crate::select!(@body [$($arms)*] [] [default ($timeout)] $($rest)*)
    };
    (@read [$($arms:tt)*] [$($default:tt)+] default $($rest:tt)*) => {
        ::core::compile_error!("there can be only one `default` arm in a `select!`")
    };

    // An operation.
    (@read [$($arms:tt)*] [$($default:tt)*] recv($rx:expr $(,)?) -> $result:pat => $($rest:tt)*) => {
        $crate::select!(@body [$($arms)*] [$($default)*] [recv Receiver end index ($rx) () ($result)] $($rest)*)
    };
    (@read [$($arms:tt)*] [$($default:tt)*] send($tx:expr, $message:expr $(,)?) -> $result:pat => $($rest:tt)*) => {
        $crate::select!(@body [$($arms)*] [$($default)*] [send Sender end index ($tx) ($message) ($result)] $($rest)*)
    };
    (@read [$($arms:tt)*] [$($default:tt)*] $($rest:tt)+) => {
        ::core::compile_error!(
            "expected `recv(rx) -> result => body`, `send(tx, message) -> result => body`, `default => body` \
             or `default(timeout) => body`"
        )
    };

    // Its body: a block needs no comma after it, and the last arm neither.
    (@body [$($arms:tt)*] [$($default:tt)*] [$($arm:tt)*] $body:block, $($rest:tt)*) => {
        $crate::select!(@keep [$($arms)*] [$($default)*] [$($arm)* ($body)] $($rest)*)
    };
    (@body [$($arms:tt)*] [$($default:tt)*] [$($arm:tt)*] $body:expr, $($rest:tt)*) => {
        $crate::select!(@keep [$($arms)*] [$($default)*] [$($arm)* ($body)] $($rest)*)
    };
    (@body [$($arms:tt)*] [$($default:tt)*] [$($arm:tt)*] $body:block $($rest:tt)*) => {
        $crate::select!(@keep [$($arms)*] [$($default)*] [$($arm)* ($body)] $($rest)*)
    };
    (@body [$($arms:tt)*] [$($default:tt)*] [$($arm:tt)*] $body:expr) => {
        $crate::select!(@keep [$($arms)*] [$($default)*] [$($arm)* ($body)])
    };

    (@keep [$($arms:tt)*] [] [default $($arm:tt)*] $($rest:tt)*) => {
        $crate::select!(@read [$($arms)*] [$($arm)*] $($rest)*)
    };
    (@keep [$($arms:tt)*] [$($default:tt)*] [$($arm:tt)*] $($rest:tt)*) => {
        $crate::select!(@read [$($arms)* [$($arm)*]] [$($default)*] $($rest)*)
    };

    // How long to wait.
    (@selected $select:ident ($($selected:tt)*) []) => {{
        let selected = $select.select();
        $crate::select!(@finish selected $($selected)*)
    }};
    (@selected $select:ident ($($selected:tt)*) [() ($default:expr)]) => {
        match $select.try_select() {
            Ok(selected) => $crate::select!(@finish selected $($selected)*),
            Err(_) => $default,
        }
    };
    (@selected $select:ident ($($selected:tt)*) [($timeout:expr) ($default:expr)]) => {
        match $select.select_timeout($timeout) {
            Ok(selected) => $crate::select!(@finish selected $($selected)*),
            Err(_) => $default,
        }
    };

    (@finish $selected:ident
        $([$kind:ident $type:ident $end:ident $index:ident $expr:tt ($($message:expr)?) ($result:pat) ($body:expr)])*
    ) => {
        $(if $selected.index() == $index {
            let result = $selected.$kind($end $(, $message)?);
            let $result = result;
            $body
        } else)* {
            ::core::unreachable!("an operation that was never added was selected")
        }
    };

    (@write
        [$([$kind:ident $type:ident $end:ident $index:ident ($expr:expr) $message:tt $result:tt $body:tt])*]
        $default:tt
    ) => {{
        $(let $end: &$crate::channel::$type<_> = &$expr;)*
        #[allow(unused_mut)]
        let mut select = $crate::channel::Select::new();
        $(let $index = select.$kind($end);)*
        $crate::select!(@selected select
            ($([$kind $type $end $index ($expr) $message $result $body])*)
            $default
        )
    }};

    () => {
        ::core::compile_error!("a `select!` without an arm would wait for ever")
    };
    ($($arms:tt)+) => {
        $crate::select!(@read [] [] $($arms)+)
    };
}
