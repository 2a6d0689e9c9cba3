//! Prints what attaching, publishing and releasing cost, in microseconds (median and 90th percentile).
//!
//! `unshare --net --mount cargo run --release -p tare-net --example attach [ROUNDS] [ATTACHED]`: run it in namespaces
//! of its own; ATTACHED containers stay attached meanwhile, to show whether the cost grows with them.

#![allow(clippy::print_stdout, reason = "it is a program that prints figures")]

use std::{
    path::Path,
    time::{Duration, Instant},
};
use tare_net::{AttachRequest, Config, ContainerKey, Networks, default_pools};
use tare_types::{
    ContainerId, Namespace,
    port::{Protocol, PublishedPort},
};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let rounds: u16 = arguments.next().map_or(Ok(200), |text| text.parse())?;
    let attached: u16 = arguments.next().map_or(Ok(0), |text| text.parse())?;
    let directory = tempfile::tempdir()?;
    let networks = Networks::open(config(directory.path()))?;
    let started = Instant::now();
    networks.prepare()?;
    println!("prepare          {:>8} µs, once", started.elapsed().as_micros());
    for number in 0..attached {
        let key = key(&format!("stays{number}"))?;
        networks.attach(&request(&key))?;
        networks.publish(&key, &[port(20_000 + number)])?;
    }
    measure(&networks, rounds)?;
    for number in 0..attached {
        networks.release(&key(&format!("stays{number}"))?)?;
    }
    let started = Instant::now();
    networks.settle(Duration::from_secs(60))?;
    println!("release of {attached:>5} {:>8} µs, all", started.elapsed().as_micros());
    networks.shutdown()?;
    Ok(())
}

fn measure(networks: &Networks, rounds: u16) -> Result<(), Failure> {
    let names = ["attach", "publish", "release (reply)", "release (done)"];
    let mut samples: [Vec<u128>; 4] = Default::default();
    for round in 0..rounds {
        let key = key(&format!("c{round}"))?;
        // Between two containers a daemon has other work: the ready namespaces are there again.
        std::thread::park_timeout(Duration::from_millis(20));
        let mut started = Instant::now();
        let mut lap = || std::mem::replace(&mut started, Instant::now()).elapsed().as_micros();
        networks.attach(&request(&key))?;
        samples[0].push(lap());
        networks.publish(&key, &[port(10_000 + round)])?;
        samples[1].push(lap());
        networks.release(&key)?;
        samples[2].push(lap());
        networks.settle(Duration::from_secs(5))?;
        samples[3].push(lap());
    }
    for (name, sample) in names.iter().zip(&mut samples) {
        sample.sort_unstable();
        let at = |part: usize| sample[sample.len() * part / 100];
        println!("{name:<16} {:>8} µs, 90 %: {}", at(50), at(90));
    }
    Ok(())
}

fn config(directory: &Path) -> Config {
    Config {
        root: directory.join("root/network"),
        state: directory.join("state/network"),
        instance: format!("{:08x}", std::process::id()),
        host_lock: directory.join("lock"),
        bridge_subnet: None,
        pools: default_pools(),
        ready_namespaces: 4,
    }
}

fn key(id: &str) -> Result<ContainerKey, Failure> {
    Ok(ContainerKey { namespace: Namespace::default_namespace(), id: ContainerId::new(id)? })
}

fn request(key: &ContainerKey) -> AttachRequest {
    AttachRequest {
        container: key.clone(),
        network: "bridge".to_owned(),
        name: key.id.to_string(),
        ip: None,
        mac: None,
    }
}

fn port(number: u16) -> PublishedPort {
    PublishedPort { protocol: Protocol::Tcp, host_ip: None, host_port: number, container_port: 80 }
}
