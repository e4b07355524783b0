//! Seeds as they are written: `17`, `0x11`, `20` for 0..20, `100..200`.
//!
//! Boundary: text to numbers, with errors that say what to write instead.

/// The greatest seed that is read: a range has to end after it.
const SEED_MAX: u64 = u64::MAX - 1;

/// Consecutive seeds; `end` is not among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeedRange {
    /// The first one.
    pub first: u64,
    /// One past the last.
    pub end: u64,
}

impl SeedRange {
    /// Exactly this one.
    pub fn only(seed: u64) -> Self {
        Self { first: seed, end: seed.saturating_add(1) }
    }

    /// How many there are.
    pub fn len(self) -> u64 {
        self.end - self.first
    }

    /// True if there are none. No range that was parsed is.
    pub fn is_empty(self) -> bool {
        self.first >= self.end
    }

    /// One after the other.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        self.first..self.end
    }
}

impl std::fmt::Display for SeedRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.first, self.end)
    }
}

impl std::str::FromStr for SeedRange {
    type Err = String;

    /// Reads `N` as 0..N, and `A..B`, without B.
    fn from_str(text: &str) -> Result<Self, String> {
        let range = match text.split_once("..") {
            None => Self { first: 0, end: parse_seed(text)? },
            Some((first, end)) => {
                if end.starts_with('=') {
                    return Err(format!("write {first}..B, where B is not run; `..=` is not read"));
                }
                Self { first: parse_seed(first)?, end: parse_up_to(end, SEED_MAX + 1)? }
            }
        };
        if range.first > range.end {
            return Err(format!("the range {text} runs backwards; write {}..{}", range.end, range.first));
        }
        if range.is_empty() {
            return Err(format!("{text} holds no seed; write {}..{} for one", range.first, range.first + 1));
        }
        Ok(range)
    }
}

/// Reads a seed, decimal or with `0x`.
///
/// # Errors
///
/// If it is not a number, or does not fit in 64 bits.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    parse_up_to(text, SEED_MAX)
}

fn parse_up_to(text: &str, max: u64) -> Result<u64, String> {
    let text = text.trim();
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    let too_great = || format!("{text} is too great for a seed; the greatest is {SEED_MAX}");
    match parsed {
        Ok(seed) if seed <= max => Ok(seed),
        Ok(_) => Err(too_great()),
        Err(error) if *error.kind() == std::num::IntErrorKind::PosOverflow => Err(too_great()),
        Err(_) => Err(format!("`{text}` is not a seed; write a number such as 17 or 0x11")),
    }
}

/// What `LAB_SEED` and `LAB_SEEDS` ask for, if they are set.
pub(super) fn from_environment() -> Result<Option<SeedRange>, String> {
    let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    match (read("LAB_SEED"), read("LAB_SEEDS")) {
        (Some(_), Some(_)) => Err("both LAB_SEED and LAB_SEEDS are set; unset one of them".to_owned()),
        (Some(seed), None) => {
            let range = parse_seed(&seed).map(SeedRange::only);
            range.map(Some).map_err(|error| format!("LAB_SEED: {error}"))
        }
        (None, Some(seeds)) => seeds.parse().map(Some).map_err(|error| format!("LAB_SEEDS: {error}")),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read() {
        let rows = [("20", 0, 20), ("0x10", 0, 16), ("5..8", 5, 8), ("0x10..0x20", 16, 32), (" 3 .. 4 ", 3, 4)];
        for (text, first, end) in rows {
            assert_eq!(text.parse(), Ok(SeedRange { first, end }), "{text}");
        }
        assert_eq!(parse_seed("18446744073709551614"), Ok(SEED_MAX));
        let last = SeedRange::only(SEED_MAX);
        assert_eq!(last.to_string().parse(), Ok(last), "a record holds it so");
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        let rows = [
            ("x", "not a seed"),
            ("", "not a seed"),
            ("-1", "not a seed"),
            ("1.5", "not a seed"),
            ("18446744073709551615", "the greatest is 18446744073709551614"),
            ("18446744073709551616", "the greatest is 18446744073709551614"),
            ("0", "write 0..1"),
            ("7..7", "write 7..8"),
            ("9..3", "write 3..9"),
            ("1..=3", "`..=` is not read"),
        ];
        for (text, part) in rows {
            let error = text.parse::<SeedRange>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
