//! Sizes of tests that have a short and a long form: `make test` takes the short one, `make soak` sets the variables.

/// The number in an environment variable, or the short form's.
///
/// # Panics
/// When the variable holds something else than a number: a long form that silently ran as the short one shows nothing.
pub fn size(variable: &str, short: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text:?} is no number")),
        Err(_) => short,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_not_set_is_short() {
        assert_eq!(super::size("TARE_SOAK_NOBODY_SETS_THIS", 7), 7);
    }
}
