//! Ids and names that the engine gives: 64 random hexadecimal digits, and `adjective_noun` for people.

use crate::{Error, Result};
use rustix::rand::GetRandomFlags;
use tare_types::{ContainerId, ErrorKind};

/// First halves of generated names.
const ADJECTIVES: [&str; 48] = [
    "agile", "amber", "ample", "bold", "brave", "breezy", "bright", "brisk", "calm", "clear", "clever",
    "cosy", "crisp", "daring", "deft", "eager", "early", "fair", "fleet", "fond", "frosty", "gentle", "glad",
    "golden", "happy", "hardy", "jolly", "keen", "kind", "lively", "loyal", "lucid", "mellow", "merry",
    "mild", "neat", "nimble", "patient", "placid", "proud", "quick", "quiet", "rapid", "serene", "sunny",
    "tidy", "vivid", "witty",
];

/// Second halves: birds and other light things.
const NOUNS: [&str; 48] = [
    "avocet",
    "balloon",
    "bittern",
    "bulbul",
    "bunting",
    "canary",
    "cloud",
    "crane",
    "cuckoo",
    "curlew",
    "dipper",
    "dove",
    "dunlin",
    "egret",
    "falcon",
    "feather",
    "finch",
    "godwit",
    "grebe",
    "heron",
    "hoopoe",
    "ibis",
    "jackdaw",
    "kestrel",
    "kite",
    "lapwing",
    "lark",
    "linnet",
    "martin",
    "merlin",
    "oriole",
    "osprey",
    "petrel",
    "pipit",
    "plover",
    "puffin",
    "raven",
    "robin",
    "sandpiper",
    "siskin",
    "snipe",
    "sparrow",
    "starling",
    "swallow",
    "swift",
    "tern",
    "thrush",
    "wren",
];

/// So many random bytes of the kernel.
fn random(bytes: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled +=
            rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty()).map_err(|errno| {
                Error::new(ErrorKind::Internal, "get", "random bytes", "getrandom", "").with_source(errno)
            })?;
    }
    Ok(())
}

/// 64 random hexadecimal digits; never all decimal in the first 12, which a shell or DNS may take for a number.
pub(crate) fn random_id() -> Result<String> {
    loop {
        let mut bytes = [0_u8; 32];
        random(&mut bytes)?;
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if !text.as_bytes()[..12].iter().all(u8::is_ascii_digit) {
            return Ok(text);
        }
    }
}

/// A random container id.
pub(crate) fn random_container_id() -> Result<ContainerId> {
    Ok(ContainerId::new(random_id()?)?)
}

/// A name that `taken` does not know; a number is added after some vain tries.
pub(crate) fn random_name(taken: impl Fn(&str) -> bool) -> Result<String> {
    for attempt in 0..64 {
        let mut bytes = [0_u8; 3];
        random(&mut bytes)?;
        let adjective = ADJECTIVES[usize::from(bytes[0]) % ADJECTIVES.len()];
        let noun = NOUNS[usize::from(bytes[1]) % NOUNS.len()];
        let name = if attempt < 8 {
            format!("{adjective}_{noun}")
        } else {
            format!("{adjective}_{noun}{}", bytes[2])
        };
        if !taken(&name) {
            return Ok(name);
        }
    }
    Ok(format!("container_{}", &random_id()?[..12]))
}

/// Checks a name that a client gave and drops its leading slash.
///
/// # Errors
/// `InvalidArgument` for what Docker's grammar `[a-zA-Z0-9][a-zA-Z0-9_.-]+` refuses.
pub(crate) fn check_name(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let bytes = bare.as_bytes();
    let legal = bytes.len() >= 2
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if legal {
        return Ok(bare);
    }
    let detail = "only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed";
    Err(Error::new(ErrorKind::InvalidArgument, "use", "container name", bare, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_docker() {
        for good in ["ab", "/web", "a.b-c_d", "0a"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "/", "-a", "_a", "a/b", "a b", "ä1", "//ab"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generated_names_are_legal_and_new() {
        for _ in 0..100 {
            assert!(check_name(&random_name(|_| false).unwrap()).is_ok());
        }
        let first = std::cell::Cell::new(0);
        let name = random_name(|_| first.replace(first.get() + 1) < 20).unwrap();
        assert!(check_name(&name).is_ok());
        assert_eq!(random_id().unwrap().len(), 64);
    }
}
