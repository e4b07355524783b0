//! Values to bytes and back: the one file that knows the format.
//!
//! It is bincode 2 with its standard configuration: little-endian, integers as
//! short as they are, no field names. Compact and quick, and not self-describing:
//! both sides must have the same types.
//!
//! Boundary: knows serde and bincode. Nobody else here names bincode, so that
//! another format needs another version of this file and nothing more.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The bytes of `value`.
///
/// # Panics
///
/// If the type refuses to be encoded. Types that derive `Serialize` do not.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, bincode::config::standard())
        .unwrap_or_else(|error| panic!("a {} cannot be encoded: {error}", std::any::type_name::<T>()))
}

/// The value that `bytes` stand for, all of them.
///
/// # Errors
///
/// If they are not the encoding of a `T`: too short, too long, or not of its
/// form. Bytes of another type may happen to fit.
///
/// ```
/// let bytes = labrpc::encode(&(7u64, "seven"));
/// assert_eq!(labrpc::decode::<(u64, String)>(&bytes), Ok((7, "seven".to_owned())));
/// assert!(labrpc::decode::<(u64, String)>(&bytes[1..]).is_err());
/// ```
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    // The bytes come from a program under test: a length that is not true must
    // not allocate what it claims.
    let config = bincode::config::standard().with_limit::<LIMIT_BYTES>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(DecodeError { why: format!("{} bytes are left over", bytes.len() - used) }),
        Err(error) => Err(DecodeError { why: error.to_string() }),
    }
}

/// The largest message: 64 MiB.
const LIMIT_BYTES: usize = 64 << 20;

/// Bytes are not the encoding of the type that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DecodeError {
    why: String,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an encoding of the type asked for: {}", self.why)
    }
}

impl std::error::Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prefix_of_an_encoding_is_refused() {
        let bytes = encode(&(300u32, vec![1u8, 2, 3], Some("text")));
        type Value = (u32, Vec<u8>, Option<String>);
        assert_eq!(decode::<Value>(&bytes), Ok((300, vec![1, 2, 3], Some("text".to_owned()))));
        for len in 0..bytes.len() {
            assert!(decode::<Value>(&bytes[..len]).is_err(), "{len} bytes of {} were taken", bytes.len());
        }
    }

    #[test]
    fn bytes_left_over_are_refused() {
        let mut bytes = encode(&7u64);
        bytes.push(0);
        assert!(decode::<u64>(&bytes).unwrap_err().to_string().contains("1 bytes are left over"));
    }

    #[test]
    fn a_false_length_allocates_nothing() {
        let claims_a_terabyte = encode(&(1u64 << 40));
        assert!(decode::<Vec<u64>>(&claims_a_terabyte).is_err());
    }
}
