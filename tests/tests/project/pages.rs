//! The pages in Markdown: links lead somewhere, and commands are ones that there are.
//!
//! A link within the workspace must name a file, and behind `#` a heading of it. Of a command
//! its verb, its flags and the tests that it names must exist; so must examples, tests and
//! targets of make.
//!
//! Boundary: names. What the commands do, and what pages quote, others look at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tests::suites::{PARTS, all};

use super::command::{lab, stdout};

/// Words in commands that stand for something.
const PLACEHOLDERS: [&str; 7] = ["TEST", "NAME", "S", "FILE..", "DIR", "PART", "N"];
/// Pages that say so of a program that the reader is to write.
const TO_BE_WRITTEN: [&str; 2] = ["mine", "muted_leader"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace")
}

/// Every page, by its path from the root on.
fn pages() -> BTreeMap<PathBuf, String> {
    let mut pages = BTreeMap::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("the folder can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if name.ends_with(".md") {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                pages.insert(path.strip_prefix(root()).expect("it lies there").to_owned(), text);
            }
        }
    }
    pages
}

/// A page's lines outside of blocks of code, and those inside of blocks of that language.
fn split<'a>(text: &'a str, language: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut prose, mut code) = (Vec::new(), Vec::new());
    let mut block: Option<&str> = None;
    for line in text.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(begun)) => block = Some(begun),
            (Some(_), Some(_)) => block = None,
            (None, None) => prose.push(line),
            (Some(begun), None) if begun == language => code.push(line),
            _ => {}
        }
    }
    (prose, code)
}

/// What a heading is called behind `#`, as GitHub does it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let (prose, _) = split(text, "");
    prose.into_iter().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// The targets of links in a text: what stands in `](..)`.
fn links(text: &str) -> Vec<String> {
    // A link may be broken over two lines.
    let (prose, _) = split(text, "");
    let prose = prose.join("\n");
    prose.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

#[test]
fn links_lead_somewhere() {
    let pages = pages();
    let (mut count, mut broken) = (0, Vec::new());
    for (page, text) in &pages {
        // A starter's pages are read where the starter has them.
        let folder = page.strip_prefix("tests/starter").unwrap_or(page).parent().unwrap_or(Path::new(""));
        for link in links(text).into_iter().filter(|link| !link.contains("://")) {
            count += 1;
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target = if file.is_empty() { page.clone() } else { folder.join(file) };
            let whole = root().join(&target);
            let is_there = whole.exists();
            let has_heading =
                heading.is_empty() || fs::read_to_string(&whole).is_ok_and(|text| anchors(&text).contains(heading));
            if !is_there || !has_heading {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(count > 40, "{count} links");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// What panics in a starter names a page and a heading.
#[test]
fn what_is_not_implemented_yet_has_a_page() {
    let handouts = ["raft/README.md", "kvraft/README.md"].map(|page| (page, anchors(&pages()[Path::new(page)])));
    for part in PARTS {
        let (page, headings) = &handouts[usize::from(part.name.starts_with('3'))];
        assert!(headings.contains(part.name), "{page} has no heading {}", part.name);
    }
}

/// The commands of a page: lines of its shell blocks, and what stands between backticks.
fn commands(text: &str) -> Vec<String> {
    let (prose, shell) = split(text, "sh");
    let prose = prose.join("\n");
    let inline = prose.split('`').skip(1).step_by(2).map(|code| code.replace('\n', " "));
    let lines = shell.iter().map(|line| line.split(" #").next().unwrap_or_default().trim().to_owned());
    let is_command = |command: &String| command.starts_with("cargo ") || command.starts_with("make ");
    lines.chain(inline).map(|line| line.trim_start_matches("LAB_SEED=17 ").to_owned()).filter(is_command).collect()
}

/// Why a command cannot be what its page says. `help` tells what a verb of `lab` takes.
fn misfit(command: &str, help: &mut impl FnMut(&str) -> String) -> Option<String> {
    let words: Vec<&str> = command.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    match words[..] {
        ["make", target, ..] => {
            let makefile = fs::read_to_string(root().join("Makefile")).unwrap_or_default();
            let is_there = makefile.lines().any(|line| line.starts_with(&format!("{target}:")))
                || PARTS.iter().any(|part| part.name == target);
            (!is_there).then(|| format!("the Makefile has no {target}"))
        }
        ["cargo", "lab"] => None,
        ["cargo", "lab", verb, ref rest @ ..] => {
            let told = help(verb);
            if told.is_empty() {
                return Some(format!("lab has no {verb}"));
            }
            let flag = rest.iter().map(|word| word.trim_matches(['[', ']'])).find(|word| {
                word.starts_with("--")
                    && word.len() > 2
                    && !told.contains(&format!("{word} "))
                    && !told.contains(&format!("{word}\n"))
            });
            if let Some(flag) = flag {
                return Some(format!("lab {verb} takes no {flag}"));
            }
            let named = rest.first().filter(|word| !word.starts_with('-') && ["run", "replay", "why"].contains(&verb));
            let is_there = |word: &&&str| {
                PLACEHOLDERS.contains(word)
                    || TO_BE_WRITTEN.contains(word)
                    || PARTS.iter().any(|part| part.name == **word)
                    || all().any(|test| test.name.contains(**word))
            };
            named.filter(|word| !is_there(word)).map(|word| format!("no test is called {word}"))
        }
        ["cargo", "run" | "test" | "bench", ..] => {
            let package = after("-p")?;
            let (kind, name) = [("examples", "--example"), ("tests", "--test"), ("benches", "--bench")]
                .into_iter()
                .find_map(|(folder, flag)| Some((folder, after(flag)?)))?;
            let stem = root().join(package).join(kind).join(name);
            let is_there = stem.with_extension("rs").is_file() || stem.join("main.rs").is_file();
            (!is_there && !TO_BE_WRITTEN.contains(&name) && !PLACEHOLDERS.contains(&name))
                .then(|| format!("{package} has no {name} in {kind}"))
        }
        _ => None,
    }
}

/// What `lab VERB --help` says; nothing if there is no such verb.
fn helps() -> impl FnMut(&str) -> String {
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    move |verb| {
        let ask = || {
            let told = lab(&[verb, "--help"]);
            if told.status.success() { stdout(&told) } else { String::new() }
        };
        known.entry(verb.to_owned()).or_insert_with(ask).clone()
    }
}

#[test]
fn commands_are_ones_that_there_are() {
    let mut help = helps();
    let (mut count, mut wrong) = (0, Vec::new());
    for (page, text) in pages() {
        // A starter's page is filled in when the starter is made; its Raft is given, or not.
        let filled = [("2a", "reelection", "reelection_2a"), ("3a", "basic", "basic_3a")]
            .map(|(first, word, test)| text.replace("{first}", first).replace("{word}", word).replace("{test}", test));
        let all: BTreeSet<String> = filled.iter().flat_map(|text| commands(text)).collect();
        for command in all {
            count += 1;
            wrong.extend(misfit(&command, &mut help).map(|why| format!("{}: `{command}`: {why}", page.display())));
        }
    }
    assert!(count > 40, "{count} commands");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_commands_are_noticed() {
    let mut help = helps();
    for (command, why) in [
        ("cargo lab rum 2a", "lab has no rum"),
        ("cargo lab run 2a --sed 1", "lab run takes no --sed"),
        ("cargo lab run 2e", "no test is called 2e"),
        ("cargo run -p labsim --example lost", "labsim has no lost in examples"),
        ("make everything", "the Makefile has no everything"),
    ] {
        assert_eq!(misfit(command, &mut help).as_deref(), Some(why), "{command}");
    }
    for command in
        ["cargo lab run reelection --seed 7", "cargo run -p labsim --example lost_update", "make 2a", "cargo lab"]
    {
        assert_eq!(misfit(command, &mut help), None, "{command}");
    }
    assert_eq!(anchor("What you may rely on, and what is asked"), "what-you-may-rely-on-and-what-is-asked");
    let page = "a [b](c.md#d)\n```sh\ncargo lab list # all\n```\nuse `cargo lab\nrun 2a`, [x](y)\n";
    assert_eq!(commands(page), ["cargo lab list", "cargo lab run 2a"]);
    assert_eq!(links(page), ["c.md#d", "y"]);
}
