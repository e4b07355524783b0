//! A call stack as a student wants it: cut to the frames of their own code.
//!
//! Of a stack in a simulation, most frames are the simulator's, std's and the
//! machine's. What matters is the innermost line that somebody wrote for this
//! program, who called it, and what it had called when it got no further.
//!
//! Boundary: addresses to text. Who takes a stack, and when, is not its
//! business.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// Frames looked at. A recursion that overflows a stack has thousands.
pub(crate) const DEPTH_MAX: usize = 128;

/// Frames shown.
const FRAMES_SHOWN: usize = 12;

/// The stack of one thread, innermost frame first.
pub(crate) struct Stack {
    frames: Vec<Frame>,
    /// There were more frames than [`DEPTH_MAX`].
    cut: bool,
}

struct Frame {
    function: String,
    place: Option<String>,
    /// The place is a line, and not only a file.
    has_line: bool,
    /// Neither labsim's, nor a library's.
    is_students: bool,
}

/// The return addresses on the calling thread's stack.
pub(crate) fn addresses() -> Vec<usize> {
    let mut addresses = Vec::new();
    backtrace::trace(|frame| {
        addresses.push(frame.ip() as usize);
        addresses.len() < DEPTH_MAX
    });
    addresses
}

impl Stack {
    /// Of return addresses that were noted earlier, perhaps by another thread.
    pub(crate) fn from_addresses(addresses: &[usize]) -> Self {
        let mut frames = Vec::new();
        for address in addresses {
            // A return address is that of the next instruction, which may belong
            // to another line. Where a thread was interrupted the address is
            // exact, and what lies before it may have no line.
            let called = resolve(address.saturating_sub(1));
            let has_line = |found: &[Frame]| found.iter().any(|frame| frame.has_line);
            let found = if has_line(&called) {
                called
            } else {
                Some(resolve(*address)).filter(|f| has_line(f)).unwrap_or(called)
            };
            frames.extend(found);
        }
        Self { frames, cut: addresses.len() >= DEPTH_MAX }
    }

    /// The innermost line of the student's. Some instructions, such as those that
    /// open a frame, belong to no line: then that of the caller.
    pub(crate) fn place(&self) -> Option<&str> {
        let students = || self.frames.iter().filter(|frame| frame.is_students);
        students().find(|frame| frame.has_line).or_else(|| students().next())?.place.as_deref()
    }

    /// What the student's innermost line called, if it was in a call: by the
    /// name of the outermost function that is not the student's.
    pub(crate) fn callee(&self) -> Option<&str> {
        let at = self.frames.iter().position(|frame| frame.is_students)?;
        let callee = self.frames[..at].iter().rev().find(|frame| frame.function != "?")?;
        Some(&callee.function)
    }

    /// True if something was being printed.
    pub(crate) fn is_in_printing(&self) -> bool {
        self.mentions("std::io::") && ["print", "Stdout", "Stderr"].iter().any(|part| self.mentions(part))
    }

    /// True if memory was being allocated or freed, by Rust's names of that or C's.
    pub(crate) fn is_in_allocator(&self) -> bool {
        const RUST: [&str; 5] = ["alloc::alloc::", "__rust_alloc", "__rust_dealloc", "__rust_realloc", "__rdl_"];
        const C: [&str; 5] = ["malloc", "calloc", "realloc", "memalign", "free"];
        // Who could not be given memory is no longer in there.
        let is_out = |function: &str| function.contains("error") || function.contains("oom");
        self.frames.iter().filter(|frame| !is_out(&frame.function)).any(|Frame { function, .. }| {
            let is_c = !function.contains("::");
            RUST.iter().any(|name| function.starts_with(name)) || is_c && C.iter().any(|name| function.contains(name))
        })
    }

    /// True if the name of any frame contains `part`.
    pub(crate) fn mentions(&self, part: &str) -> bool {
        self.frames.iter().any(|frame| frame.function.contains(part))
    }

    /// The student's frames, one a line: `function at file:line`. A frame that
    /// repeats, as in a recursion, is listed once.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let mut shown: Vec<(&str, Option<&str>)> = Vec::new();
        let mut left_out = 0;
        for frame in self.frames.iter().filter(|frame| frame.is_students) {
            let line = (frame.function.as_str(), frame.place.as_deref());
            if shown.contains(&line) {
                continue;
            }
            if shown.len() == FRAMES_SHOWN {
                left_out += 1;
                continue;
            }
            shown.push(line);
            let place = frame.place.as_deref().map_or(String::new(), |place| format!(" at {place}"));
            let _ = writeln!(text, "  {}{place}", without_types(&frame.function));
        }
        if left_out > 0 || self.cut {
            let _ = writeln!(text, "  .. and callers beyond these");
        }
        text
    }
}

/// A function's name without the types that it was compiled for, of which debug information
/// has long lists.
fn without_types(function: &str) -> &str {
    match function.find('<') {
        Some(at) if at > 0 && !function[..at].ends_with("::") => &function[..at],
        _ => function,
    }
}

/// The function at an address, within those it was inlined into, if any.
fn resolve(address: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    backtrace::resolve(address as *mut std::ffi::c_void, |symbol| {
        let function = symbol.name().map_or_else(|| "?".to_owned(), |name| format!("{name:#}"));
        let file = symbol.filename();
        let place = file.map(|file| match symbol.lineno() {
            Some(line) => format!("{}:{line}", from_workspace(file).display()),
            None => from_workspace(file).display().to_string(),
        });
        let is_students = file.is_some_and(|file| is_students(&file.to_string_lossy(), &function));
        frames.push(Frame { function, place, has_line: symbol.lineno().is_some(), is_students });
    });
    frames
}

/// A path within the workspace, from its root, as cargo and the compiler print it;
/// any other as it is. Debug information has whole paths, and so has the place of
/// a caller in a package that belongs to no workspace.
pub(crate) fn from_workspace(file: &Path) -> &Path {
    /// That of labsim, and the one that the program was started in.
    static ROOTS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned);
        let started_in = std::env::current_dir().ok().and_then(|folder| root_of(&folder));
        own.into_iter().chain(started_in).collect()
    });
    ROOTS.iter().find_map(|root| file.strip_prefix(root).ok()).unwrap_or(file)
}

/// The root of the workspace that a folder lies in: that is where `Cargo.lock` is.
/// The folder itself, if it lies in none.
fn root_of(folder: &Path) -> Option<PathBuf> {
    let root = folder.ancestors().find(|folder| folder.join("Cargo.lock").is_file()).unwrap_or(folder);
    // Every path lies below the root of all folders, and says more with it.
    root.parent().is_some().then(|| root.to_owned())
}

fn is_students(file: &str, function: &str) -> bool {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/");
    let from_library = ["/rustc/", "/rustlib/src/", "/registry/src/", "/git/checkouts/"];
    file.ends_with(".rs")
        && !file.starts_with(own)
        && !file.starts_with("library/")
        && !from_library.iter().any(|library| file.contains(library))
        && !function.starts_with("std::")
        && !function.starts_with("core::")
        && !function.starts_with("__")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[inline(never)]
    fn deep(left: u32) -> Stack {
        if left == 0 { Stack::from_addresses(&addresses()) } else { std::hint::black_box(deep(left - 1)) }
    }

    #[test]
    fn labsims_own_frames_are_nobodys() {
        let stack = deep(3);
        assert!(stack.mentions("deep"), "the stack was walked");
        assert!(!stack.render().contains("deep"), "{}", stack.render());
    }

    #[test]
    fn a_file_of_the_workspace_is_named_from_its_root() {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(root_of(&package.join("src")).as_deref(), package.parent());
        assert_eq!(from_workspace(&package.join("src/stack.rs")), Path::new("labsim/src/stack.rs"));
        assert_eq!(from_workspace(Path::new("raft/src/lib.rs")), Path::new("raft/src/lib.rs"));
        assert_eq!(from_workspace(Path::new("/somewhere/else.rs")), Path::new("/somewhere/else.rs"));
        // A program of another workspace, or of none.
        let other = std::env::temp_dir().join(format!("labsim-roots-{}", std::process::id()));
        std::fs::create_dir_all(other.join("raft/src")).unwrap();
        assert_eq!(root_of(&other.join("raft")), Some(other.join("raft")));
        std::fs::write(other.join("Cargo.lock"), "").unwrap();
        assert_eq!(root_of(&other.join("raft/src")), Some(other.clone()));
        std::fs::remove_dir_all(&other).unwrap();
        assert_eq!(root_of(Path::new("/")), None);
    }

    #[test]
    fn a_function_is_named_without_types() {
        for (function, expected) in [
            ("with_state<raft::Reply, raft::peer::{impl#3}::promise::{closure_env#0}<u64>>", "with_state"),
            ("{closure#0}<raft::Reply>", "{closure#0}"),
            ("raft::peer::Raft::start", "raft::peer::Raft::start"),
            ("<raft::Raft as core::fmt::Debug>::fmt", "<raft::Raft as core::fmt::Debug>::fmt"),
            ("raft::election::<impl raft::Raft>::campaign", "raft::election::<impl raft::Raft>::campaign"),
        ] {
            assert_eq!(without_types(function), expected);
        }
    }

    #[test]
    fn whose_a_file_is() {
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/src/thread.rs");
        let rows = [
            ("/home/x/raftlab/raft/src/state.rs", "raft::State::f", true),
            ("/home/x/labsim/tests/facade/main.rs", "main::f", true),
            (own, "labsim::thread::sleep", false),
            ("/rustc/59807616e1fa/library/std/src/sys/thread.rs", "std::sys::sleep", false),
            ("./misc/../sysdeps/unix/sysv/linux/x86_64/syscall.S", "syscall", false),
            ("/home/x/.cargo/registry/src/index/rand-0.10/src/lib.rs", "rand::rng", false),
        ];
        for (file, function, expected) in rows {
            assert_eq!(is_students(file, function), expected, "{file}");
        }
    }
}
