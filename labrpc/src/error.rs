//! Why a call came back without a reply.
//!
//! Boundary: what the caller may conclude, and nothing about causes that it
//! could not see on a real network.

use std::fmt;

/// A call without a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallError {
    /// No reply came. The request may have been executed, may yet be, or may
    /// have been executed twice. The caller cannot tell a dead server from a
    /// slow one or from a broken link.
    Lost,
    /// The server has no such method. It was not executed, and will not be.
    Refused,
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost => {
                f.write_str("no reply; the request may have been executed, so ask again only if that is harmless")
            }
            Self::Refused => f.write_str("the server has no such method; check its name on both sides"),
        }
    }
}

impl std::error::Error for CallError {}
