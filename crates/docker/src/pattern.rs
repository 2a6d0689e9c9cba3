//! The two pattern languages in filters: regular expressions for names, shell patterns for references.

/// Whether the regular expression is found in the text; a broken expression is found nowhere, as in dockerd.
pub(crate) fn is_found(pattern: &str, text: &str) -> bool {
    // Linear in the text, and the size of a compiled pattern is bounded: the pattern is a client's.
    regex_lite::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// Go's `path.Match`: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]` are classes, `\` takes the next as it is.
/// A broken pattern matches nothing.
pub(crate) fn path_matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // One way back, to the last star, is enough: a later star takes over all that an earlier one could.
    let (mut p, mut t) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&'*') {
            last_star = Some((p, t));
            p += 1;
            continue;
        }
        if let Some(next) = match_one(&pattern, p, text[t]) {
            p = next;
            t += 1;
            continue;
        }
        match last_star {
            Some((star, from)) if text[from] != '/' => {
                last_star = Some((star, from + 1));
                p = star + 1;
                t = from + 1;
            }
            _ => return false,
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Matches one character against the element at `at`; gives the place after the element.
fn match_one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '?' => (c != '/').then_some(at + 1),
        '[' => match_class(pattern, at + 1, c),
        '\\' => (pattern.get(at + 1) == Some(&c)).then_some(at + 2),
        literal => (*literal == c).then_some(at + 1),
    }
}

fn match_class(pattern: &[char], mut at: usize, c: char) -> Option<usize> {
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let first = at;
    let mut found = false;
    while at == first || pattern.get(at)? != &']' {
        let low = class_member(pattern, &mut at)?;
        let high = if pattern.get(at) == Some(&'-') {
            at += 1;
            class_member(pattern, &mut at)?
        } else {
            low
        };
        found |= (low..=high).contains(&c);
    }
    (found != negated).then_some(at + 1)
}

fn class_member(pattern: &[char], at: &mut usize) -> Option<char> {
    *at += usize::from(pattern.get(*at)? == &'\\');
    let member = *pattern.get(*at)?;
    *at += 1;
    Some(member)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_searched() {
        assert!(is_found("^/?web$", "web") && is_found("eb", "web") && !is_found("^eb", "web"));
        assert!(!is_found("(", "("));
    }

    #[test]
    fn shell_patterns_follow_go() {
        for (pattern, text) in [
            ("busybox", "busybox"),
            ("b*x", "busybox"),
            ("*/*", "a/b"),
            ("[a-c]?z", "bxz"),
            ("[^a]b", "xb"),
            ("\\*", "*"),
            ("**", "a"),
        ] {
            assert!(path_matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("*", "a/b"), ("?", "/"), ("b*", "a"), ("[a", "a"), ("", "a"), ("a", ""), ("[^a]b", "ab")]
        {
            assert!(!path_matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_pattern_of_stars_takes_no_time() {
        assert!(!path_matches(&"*a".repeat(200), &"a".repeat(199)));
    }
}
