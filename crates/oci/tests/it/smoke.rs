//! Debian's dockerd and podman with `tare-oci` as their runtime.
//!
//! The checks are the same for both; each engine has directories, a socket and a cgroup of its own. `make test` takes
//! the short set, `make soak` the whole (the ignored tests).

mod checks;
mod docker;
mod engine;
mod podman;

use engine::Engine;

/// Runs checks one after the other in one engine and names the one that fails.
fn run(engine: &Engine, checks: &[checks::Check]) {
    for (name, check) in checks {
        println!("{}: {name}", engine.name());
        check(engine);
        engine.remove_all();
    }
}

#[test]
fn dockerd_runs_containers() {
    if let Some(engine) = docker::start() {
        run(&engine, checks::SHORT);
    }
}

#[test]
fn podman_runs_containers() {
    if let Some(engine) = podman::start() {
        run(&engine, checks::SHORT);
    }
}

#[test]
fn podman_of_an_ordinary_user_runs_containers() {
    if let Some(engine) = podman::start_for_user() {
        run(&engine, checks::USER);
    }
}

#[test]
#[ignore = "the long set, part of make soak"]
fn soak_dockerd_runs_containers() {
    if let Some(engine) = docker::start() {
        run(&engine, checks::SHORT);
        run(&engine, checks::LONG);
    }
}

#[test]
#[ignore = "the long set, part of make soak"]
fn soak_podman_runs_containers() {
    if let Some(engine) = podman::start() {
        run(&engine, checks::SHORT);
        run(&engine, checks::LONG);
    }
}
