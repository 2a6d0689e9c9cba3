//! What a shim costs: memory and time, printed as a table. `TARE_SHIM_BINARY` names another binary than the one
//! just built: `TARE_SHIM_BINARY=target/release/containerd-shim-tare-v2 cargo bench -p tare-shim --profile dev`.
#![allow(
    missing_docs,
    unused_crate_dependencies,
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench"
)]

#[path = "../tests/it/support.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};
use support::Shim;
use tare_api::tare::shim::v1 as private;
use tare_api::tare::shim::v1::attach_response::Message as Response;

fn main() {
    if std::env::args().any(|argument| argument == "--list" || argument == "--test") {
        return;
    }
    if let Some(reason) = support::cannot_run() {
        println!("skipped: {reason}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(measure());
}

async fn measure() {
    println!(
        "binary {} ({} kB)",
        support::binary(),
        std::fs::metadata(support::binary()).unwrap().len() / 1024
    );
    let mut starts = Vec::new();
    for _ in 0..30 {
        let began = Instant::now();
        let shim = Shim::start().await;
        let request = private::ProcessesRequest::default();
        shim.private::<_, private::ProcessesResponse>("Processes", &request).await.unwrap();
        starts.push(began.elapsed());
        shim.shutdown().await;
    }
    report("spawn until the first answer", starts);

    let shim = Arc::new(Shim::start().await);
    let request = private::ProcessesRequest::default();
    shim.private::<_, private::ProcessesResponse>("Processes", &request).await.unwrap();
    println!("idle, no container:        {}", rested(&shim).await);
    let bundle = shim.bundle("a", &["sleep", "1000"], |_| {});
    let started = private::CreateOptions { start: true, ..Default::default() };
    shim.create("a", &bundle, &started).await.unwrap();
    println!("just started a container:  {}", memory(&shim));
    println!("idle, one container:       {}", rested(&shim).await);

    let before = processor(&shim);
    let mut execs = Vec::new();
    for number in 0..1000 {
        let began = Instant::now();
        exec(&shim, number).await;
        execs.push(began.elapsed());
    }
    let after = processor(&shim);
    println!(
        "processor time per exec: shim {:.2} ms, process {:.2} ms",
        (after.0 - before.0) / 1000.0,
        (after.1 - before.1) / 1000.0
    );
    report("exec true: Exec, Attach with start, end, Delete", execs);
    println!("just after 1,000 execs:    {}", memory(&shim));
    println!("idle after 1,000 execs:    {}", rested(&shim).await);

    let began = Instant::now();
    let all: Vec<_> = (0..100)
        .map(|number| {
            let shim = Arc::clone(&shim);
            tokio::spawn(async move { exec(&shim, 10_000 + number).await })
        })
        .collect();
    for one in all {
        one.await.unwrap();
    }
    println!("100 execs at once:         {:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
    println!("idle after them:           {}", rested(&shim).await);

    let bundle = shim.bundle("b", &["true"], |_| {});
    let [mut runs, mut creates, mut deletes] = [const { Vec::new() }; 3];
    let before = processor(&shim);
    for _ in 0..200 {
        let began = Instant::now();
        shim.create("b", &bundle, &started).await.unwrap();
        creates.push(began.elapsed());
        shim.wait("b", "").await.unwrap();
        let waited = began.elapsed();
        shim.delete("b", "").await.unwrap();
        runs.push(began.elapsed());
        deletes.push(began.elapsed() - waited);
    }
    let after = processor(&shim);
    println!(
        "processor time per run: shim {:.2} ms, process {:.2} ms",
        (after.0 - before.0) / 200.0,
        (after.1 - before.1) / 200.0
    );
    report("run true: Create with start, Wait, Delete", runs);
    report("  of it Create with start", creates);
    report("  of it Delete", deletes);
    println!("idle after 200 containers: {}", rested(&shim).await);
    shim.kill("a", 9).await.unwrap();
    shim.wait("a", "").await.unwrap();
    shim.delete("a", "").await.unwrap();
    Arc::into_inner(shim).unwrap().shutdown().await;
}

/// One exec as tared makes it.
async fn exec(shim: &Shim, number: usize) {
    let id = format!("x{number}");
    shim.exec("a", &id, &["true"]).await.unwrap();
    let open = private::AttachOpen {
        id: "a".into(),
        exec_id: id.clone(),
        stdout: true,
        stderr: true,
        start: true,
        ..Default::default()
    };
    let mut stream = shim.attach(open).await;
    loop {
        if let Response::End(end) = support::receive(&mut stream).await {
            assert!(end.exited && end.exit_status == 0, "{end:?}");
            break;
        }
    }
    shim.delete("a", &id).await.unwrap();
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!("{what}: median {:.2} ms, p10 {:.2}, p90 {:.2}, max {:.2}", at(0.5), at(0.1), at(0.9), at(1.0));
}

/// Memory after the shim has had nothing to do for a while.
async fn rested(shim: &Shim) -> String {
    tokio::time::sleep(Duration::from_millis(1500)).await;
    memory(shim)
}

/// Processor time of the shim and of the children it has reaped, milliseconds.
fn processor(shim: &Shim) -> (f64, f64) {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", shim.process.id())).unwrap();
    let fields: Vec<f64> =
        stat.rsplit_once(") ").unwrap().1.split(' ').map(|field| field.parse().unwrap_or(0.0)).collect();
    // Fields 14 to 17 of proc(5), in ticks of 10 ms.
    ((fields[11] + fields[12]) * 10.0, (fields[13] + fields[14]) * 10.0)
}

/// PSS, anonymous memory and threads.
fn memory(shim: &Shim) -> String {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", shim.process.id())).unwrap();
    let (rollup, status) = (read("smaps_rollup"), read("status"));
    let value = |text: &str, key: &str| {
        text.lines()
            .find(|line| line.starts_with(key))
            .map_or("?", |line| line.split_whitespace().nth(1).unwrap_or("?"))
            .to_owned()
    };
    let fds = std::fs::read_dir(format!("/proc/{}/fd", shim.process.id())).unwrap().count();
    format!(
        "PSS {} kB, anonymous {} kB, RSS {} kB, threads {}, descriptors {fds}",
        value(&rollup, "Pss:"),
        value(&rollup, "Anonymous:"),
        value(&rollup, "Rss:"),
        value(&status, "Threads:")
    )
}
