//! Values of version 1 expressed in version 2's.

use crate::{Error, Result};

/// `cpu.shares` (2 to 262144, 1024 normal) as `cpu.weight` (1 to 10000, 100 normal).
///
/// A quadratic function of the logarithms that meets minimum, normal and maximum, as runc 1.3.2 and crun 1.23
/// use it; the linear one before them made 39 of the normal 1024.
pub(super) fn weight_from_shares(shares: u64) -> u64 {
    match shares {
        0..=2 => 1,
        262_144.. => 10_000,
        shares => {
            let log = log2(shares as f64);
            let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
            let weight = exp(exponent * core::f64::consts::LN_10);
            // Rounded up, but not for an error in the last digits.
            let floor = (weight + 1e-9) as u64;
            if weight - floor as f64 > 1e-9 { floor + 1 } else { floor }
        }
    }
}

/// `blkio.weight` (10 to 1000) as `io.weight` (1 to 10000).
pub(super) fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight).saturating_sub(10)) * 9999 / 990
}

/// The limit of memory and swap together as version 2's limit of swap alone; `None` leaves it alone.
pub(super) fn swap_alone(memory: i64, both: i64) -> Result<Option<i64>> {
    match (memory, both) {
        // No limit on memory lifts that of swap too, if nothing is said of it.
        (-1, 0) | (_, -1) => Ok(Some(-1)),
        (_, 0) => Ok(None),
        (-1, both) => Ok(Some(both)),
        (0, _) => Err(Error::invalid("memory.swap", "unable to set swap limit without memory limit")),
        (memory, both) if memory < 0 || both < memory => {
            Err(Error::invalid("memory.swap", "memory+swap limit should be >= memory limit"))
        }
        (memory, both) => Ok(Some(both - memory)),
    }
}

/// log₂ of a number above 0: the exponent, and a series for what is left between 1 and 2.
fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    // ln m = 2 artanh((m-1)/(m+1)); the argument is at most 1/3.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let (mut power, mut sum, mut k) = (z, 0.0, 1.0);
    while k < 60.0 {
        sum += power / k;
        power *= z * z;
        k += 2.0;
    }
    exponent as f64 + 2.0 * sum / core::f64::consts::LN_2
}

/// eˣ for small x: the series at x/64, squared six times.
fn exp(x: f64) -> f64 {
    let x = x / 64.0;
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while k < 16.0 {
        term *= x / k;
        sum += term;
        k += 1.0;
    }
    (0..6).fold(sum, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_meet_the_fixed_points_and_std() {
        for (shares, weight) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(weight_from_shares(shares), weight, "{shares}");
        }
        let mut last = 1;
        for shares in 3..262_144_u64 {
            let log = (shares as f64).log2();
            let exact = 10_f64.powf((log * log + 125.0 * log) / 612.0 - 7.0 / 34.0);
            let weight = weight_from_shares(shares);
            assert!(
                (weight as f64 - exact) < 1.000_001 && weight as f64 > exact - 1e-6,
                "{shares} {weight} {exact}"
            );
            assert!(weight >= last);
            last = weight;
        }
    }

    #[test]
    fn io_weights() {
        assert_eq!((io_weight(10), io_weight(500), io_weight(1000)), (1, 4950, 10_000));
    }

    #[test]
    fn swap() {
        assert_eq!(swap_alone(100, 150).unwrap(), Some(50));
        assert_eq!(swap_alone(100, 100).unwrap(), Some(0));
        assert_eq!(swap_alone(100, -1).unwrap(), Some(-1));
        assert_eq!(swap_alone(100, 0).unwrap(), None);
        assert_eq!(swap_alone(-1, 0).unwrap(), Some(-1));
        assert_eq!(swap_alone(-1, 70).unwrap(), Some(70));
        assert!(swap_alone(0, 70).is_err());
        assert!(swap_alone(100, 70).is_err());
        assert!(swap_alone(-5, 70).is_err());
    }
}
