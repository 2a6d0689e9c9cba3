//! `WWW-Authenticate`: which ways to prove oneself a registry offers (RFC 9110 §11.6.1).

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// One offered way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// Name and password to the registry itself.
    Basic,
    /// A token from a token service.
    Bearer {
        /// URL of the token service.
        realm: String,
        /// Name the registry has at the token service.
        service: String,
        /// What went wrong with the token that was sent, such as `insufficient_scope`.
        error: String,
    },
}

/// All understood challenges of an answer, in the order of the answer.
pub(crate) fn parse_challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(parse_header).collect()
}

fn parse_header(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_whitespace() || c == ',').unwrap_or(rest.len());
        let scheme = &rest[..end];
        let (parameters, after) = parse_parameters(rest[end..].trim_start());
        let value = |name: &str| {
            let hit = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            hit.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            found.push(Challenge::Bearer {
                realm: value("realm"),
                service: value("service"),
                error: value("error"),
            });
        }
        rest = after.trim_start_matches([',', ' ', '\t']);
    }
    found
}

/// `key=value` or `key="value"` pairs up to the next scheme; the remaining text.
fn parse_parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let Some(equals) = rest.find('=') else { break };
        let key = rest[..equals].trim_end();
        // A space or comma before the equals sign: the next scheme begins here.
        if key.is_empty() || key.contains([' ', '\t', ',']) {
            break;
        }
        let after = rest[equals + 1..].trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let end = after.find([',', ' ', '\t']).unwrap_or(after.len());
                (after[..end].to_string(), &after[end..])
            }
        };
        found.push((key.to_string(), value));
        rest = next;
    }
    // What cannot be read as a pair nor as a scheme must not be tried forever.
    (found, rest)
}

fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: &str, error: &str) -> Challenge {
        Challenge::Bearer { realm: realm.into(), service: service.into(), error: error.into() }
    }

    #[test]
    fn the_usual_forms() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#;
        assert_eq!(parse_header(hub), [bearer("https://auth.docker.io/token", "registry.docker.io", "")]);
        assert_eq!(parse_header(r#"Basic realm="Registry Realm""#), [Challenge::Basic]);
        assert_eq!(parse_header("Basic"), [Challenge::Basic]);
        assert_eq!(
            parse_header(
                r#"Negotiate, bearer REALM=http://x/t , error="insufficient_scope", Basic realm="a \"b\"""#
            ),
            [bearer("http://x/t", "", "insufficient_scope"), Challenge::Basic]
        );
    }

    #[test]
    fn nonsense_ends() {
        for text in
            ["", ",,,", "=", "= = =", "Bearer =", "Bearer realm=\"", "a b c d", "Bearer realm", "\"\"\""]
        {
            let _ = parse_header(text).len();
        }
    }
}
