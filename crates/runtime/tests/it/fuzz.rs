//! Documents that somebody has tampered with: configurations, filters and states, changed at random from ones that work.
//!
//! Each is refused or accepted; none makes the library panic, hang, or take memory without bound. The numbers are
//! drawn from a fixed seed, so that a failure comes again; `make soak` draws more, and from another one.

use serde_json::{Map, Value};
use std::{fs, panic::catch_unwind, time::Instant};
use tare_runtime::{Runtime, RuntimeOptions, describe_plan, seccomp};
use tare_testkit::{numbers::Numbers, soak};
use tare_types::spec::{LinuxSeccomp, Spec};
use tare_types::specgen::{DEFAULT_CAPABILITIES, NativeArch, default_seccomp};

fn rounds() -> u64 {
    soak::size("TARE_SOAK_FUZZ", 1_500)
}

/// Values at the edges of what fields take.
fn edge(numbers: &mut Numbers) -> Value {
    const TEXTS: [&str; 16] = [
        "",
        "/",
        "..",
        "../../etc",
        "/proc/self/fd/7",
        "a\u{0}b",
        "\n",
        "ä",
        "%s%n",
        "-1",
        "0",
        "rbind",
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_NOTIFY",
        "+kernel.core_pattern=x",
        "4294967296",
    ];
    match numbers.below(9) {
        0 => Value::Null,
        1 => Value::Bool(numbers.below(2) == 0),
        2 => (*numbers.of(&[0_i64, 1, -1, i64::MAX, i64::MIN, 1 << 31, 1 << 32, 4096, -2])).into(),
        3 => u64::MAX.into(),
        4 => (*numbers.of(&[0.5, -1e300, 1e-300])).into(),
        5 => Value::Array(Vec::new()),
        6 => Value::Object(Map::new()),
        7 => "x".repeat(1 << numbers.below(18)).into(),
        _ => (*numbers.of(&TEXTS)).into(),
    }
}

/// Changes one place of a document.
fn change(value: &mut Value, numbers: &mut Numbers) {
    let inside = numbers.below(8) != 0;
    match value {
        Value::Object(fields) if inside && !fields.is_empty() => {
            let keys: Vec<String> = fields.keys().cloned().collect();
            let key = numbers.of(&keys).clone();
            match numbers.below(8) {
                0 => drop(fields.remove(&key)),
                1 => {
                    let other = numbers.of(&keys).clone();
                    let copied = fields[&other].clone();
                    fields.insert(key, copied);
                }
                2 => drop(fields.insert("x".repeat(numbers.below(40)), edge(numbers))),
                _ => change(fields.get_mut(&key).unwrap(), numbers),
            }
        }
        Value::Array(items) if inside && !items.is_empty() => {
            let index = numbers.below(items.len());
            match numbers.below(8) {
                0 => drop(items.remove(index)),
                1 => {
                    let copied = items[index].clone();
                    let times = 1 << numbers.below(10);
                    items.extend(std::iter::repeat_n(copied, times));
                }
                2 => items.push(edge(numbers)),
                _ => change(&mut items[index], numbers),
            }
        }
        Value::Number(number) if inside => {
            let bit = 1_i64 << numbers.below(63);
            *value = number.as_i64().map_or_else(|| edge(numbers), |number| (number ^ bit).into());
        }
        value => *value = edge(numbers),
    }
}

/// Changes bytes: cuts, flips, repeats.
fn tear(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = numbers.below(bytes.len());
        match numbers.below(4) {
            0 => bytes.truncate(at),
            1 => bytes[at] ^= 1 << numbers.below(8),
            2 => drop(bytes.remove(at)),
            _ => {
                let piece = bytes[at..(at + 1 + numbers.below(64)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

/// Documents from one that works: changed in one place or two, or torn.
fn documents(seed: &Value, mut check: impl FnMut(u64, &[u8])) {
    let mut numbers = Numbers::seeded();
    for round in 0..rounds() {
        let mut document = seed.clone();
        for _ in 0..=numbers.below(2) {
            change(&mut document, &mut numbers);
        }
        let mut bytes = serde_json::to_vec(&document).unwrap();
        if numbers.below(8) == 0 {
            tear(&mut bytes, &mut numbers);
        }
        let begin = Instant::now();
        check(round, &bytes);
        let seconds = begin.elapsed().as_secs();
        assert!(seconds < 20, "round {round} took {seconds} s: {}", text(&bytes));
    }
}

/// As much of a document as a person reads.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(20_000)]).into_owned()
}

#[test]
fn configurations_are_planned_or_refused() {
    let mut spec: Spec = serde_json::from_str(include_str!("default.json")).unwrap();
    let names: Vec<String> = DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_string()).collect();
    let linux = spec.linux.as_mut().unwrap();
    linux.seccomp = Some(default_seccomp(&names, NativeArch::CURRENT).into());
    linux.sysctl.insert("net.ipv4.ip_default_ttl".into(), "43".into());
    let seed = serde_json::to_value(&spec).unwrap();
    let (mut planned, mut refused) = (0, 0);
    documents(&seed, |round, bytes| {
        let outcome = catch_unwind(|| {
            let spec: Spec = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            describe_plan(&spec, "/bundle").map_err(|error| error.to_string())
        });
        match outcome.unwrap_or_else(|_| panic!("round {round} panics: {}", text(bytes))) {
            Ok(plan) => {
                assert!(!plan.is_empty());
                planned += 1;
            }
            Err(error) => {
                assert!(!error.is_empty() && error.len() < 600_000, "round {round}: {} bytes", error.len());
                refused += 1;
            }
        }
    });
    println!("{planned} planned, {refused} refused");
    assert!(planned > 0 && refused > 0);
}

#[test]
fn filters_are_compiled_or_refused() {
    let names: Vec<String> = DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_string()).collect();
    let seed = serde_json::to_value(default_seccomp(&names, NativeArch::CURRENT)).unwrap();
    let (mut compiled, mut refused) = (0, 0);
    documents(&seed, |round, bytes| {
        let outcome = catch_unwind(|| {
            let profile: LinuxSeccomp = serde_json::from_slice(bytes).ok()?;
            seccomp::compile(&profile, seccomp::Arch::NATIVE).ok()
        });
        match outcome.unwrap_or_else(|_| panic!("round {round} panics: {}", text(bytes))) {
            // More than the kernel takes (BPF_MAXINSNS) must be refused here, by name.
            Some(Some(program)) => {
                assert!(program.instructions.len() <= 4096, "round {round}: {}", program.instructions.len());
                compiled += 1;
            }
            _ => refused += 1,
        }
    });
    println!("{compiled} compiled, {refused} refused");
    assert!(compiled > 0 && refused > 0);
}

#[test]
fn states_are_read_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let seed: Value = serde_json::from_str(include_str!("state.json")).unwrap();
    let root = directory.path().join("state");
    fs::create_dir_all(root.join("c1")).unwrap();
    let runtime = Runtime::new(RuntimeOptions {
        root: root.to_str().unwrap().into(),
        systemd_cgroup: false,
        user_systemd: Vec::new(),
        rootless: None,
    });
    let (mut read, mut refused) = (0, 0);
    documents(&seed, |round, bytes| {
        fs::write(root.join("c1/state.json"), bytes).unwrap();
        let outcome = catch_unwind(std::panic::AssertUnwindSafe(|| {
            let container = runtime.load("c1")?;
            container.state()
        }));
        match outcome.unwrap_or_else(|_| panic!("round {round} panics: {}", text(bytes))) {
            Ok(state) => {
                serde_json::to_string(&state).unwrap();
                read += 1;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
        }
    });
    println!("{read} read, {refused} refused");
    assert!(read > 0 && refused > 0);
}
