//! Which tests are meant: by part, by name, or by a piece of a name.
//!
//! Boundary: words to tests, or the nearest words that would be.

use crate::suites::{LabTest, Registry};

/// How alike two words must be for one to be offered in place of the other.
const ALIKE: f64 = 0.5;

/// The tests that `words` name, in the order of the registry; all of them if
/// there are no words. A part or an exact name counts first; only a word that
/// is neither is looked for inside the names.
pub(super) fn select(registry: &Registry, words: &[String]) -> Result<Vec<&'static LabTest>, String> {
    if words.is_empty() {
        return Ok(registry.all().collect());
    }
    let mut wanted = Vec::new();
    for word in words {
        wanted.extend(matching(registry, word)?);
    }
    Ok(registry.all().filter(|test| wanted.contains(&test.name)).collect())
}

fn matching(registry: &Registry, word: &str) -> Result<Vec<&'static str>, String> {
    let lower = word.to_lowercase();
    let named = |keep: &dyn Fn(&LabTest) -> bool| -> Vec<&'static str> {
        registry.all().filter(|test| keep(test)).map(|test| test.name).collect()
    };
    for found in [
        named(&|test| test.part.name == lower),
        named(&|test| test.name == lower),
        named(&|test| !lower.is_empty() && test.name.contains(&lower)),
    ] {
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Err(unknown(registry, word, &lower))
}

fn unknown(registry: &Registry, word: &str, lower: &str) -> String {
    let parts: Vec<&str> = registry.parts.iter().map(|part| part.name).collect();
    let names = registry.all().map(|test| test.name);
    // A test is meant even if its part was left out of its name.
    let bare = registry.all().map(|test| (test.name, test.name.trim_end_matches(test.part.name).trim_end_matches('_')));
    let likeness =
        |candidate: &str| strsim::jaro_winkler(lower, candidate).max(strsim::normalized_levenshtein(lower, candidate));
    let nearest = parts
        .iter()
        .copied()
        .chain(names)
        .map(|name| (likeness(name), name))
        .chain(bare.map(|(name, bare)| (likeness(bare), name)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match nearest {
        Some((alike, name)) if alike >= ALIKE => format!("did you mean {name}? "),
        _ => String::new(),
    };
    format!(
        "no part or test is called `{word}`; {hint}parts are {}, and `cargo lab list` shows all tests",
        parts.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        select(&Registry::labs(), &words).unwrap().into_iter().map(|test| test.name).collect()
    }

    #[test]
    fn what_is_chosen() {
        assert_eq!(names(&["2a"]).len(), 4);
        assert_eq!(names(&["2A"]), names(&["2a"]));
        assert_eq!(names(&["initial_election_2a"]), ["initial_election_2a"]);
        // An exact name is that test, even where it is a piece of another.
        assert_eq!(names(&["reelection_2a"]), ["reelection_2a"]);
        assert_eq!(names(&["election"]).len(), 3);
        assert_eq!(names(&["many_el", "initial", "many_el"]), ["initial_election_2a", "many_elections_2a"]);
    }

    #[test]
    fn what_is_not_there_is_answered_with_what_is() {
        let ask = |word: &str| select(&Registry::labs(), &[word.to_owned()]).unwrap_err();
        assert!(ask("inital_election_2a").contains("did you mean initial_election_2a?"));
        assert!(ask("reelecton").contains("did you mean reelection_2a?"));
        assert!(ask("2z").contains("did you mean 2"));
        assert!(ask("qqqqqq").contains("parts are 2a, 2b, 2c, 2d"));
        assert!(!ask("qqqqqq").contains("did you mean"));
        assert!(ask("").contains("no part or test"));
    }
}
