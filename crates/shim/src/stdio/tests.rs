use super::*;
use rustix::fs::FileType;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;
use tare_api::tare::shim::v1::{CriLog, LogConfig, log_config::Driver};
use tokio::time::timeout;

const OWNER: Owner<'static> = Owner { namespace: "n", id: "c" };

fn fifo(dir: &Path, name: &str) -> String {
    let path = dir.join(name);
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    path.to_string_lossy().into_owned()
}

fn names(stdin: &str, stdout: &str, stderr: &str) -> Names {
    Names { stdin: stdin.into(), stdout: stdout.into(), stderr: stderr.into(), terminal: false }
}

/// The process's side: what the runtime would hand to it.
fn child(stdio: &mut Stdio) -> [std::fs::File; 3] {
    stdio.child.take().unwrap().map(std::fs::File::from)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    timeout(Duration::from_secs(10), tokio::task::spawn_blocking(work)).await.expect("it hangs").unwrap()
}

fn read_fifo(path: &str) -> std::fs::File {
    std::fs::File::from(rustix::fs::open(path, OFlags::RDONLY, Mode::empty()).unwrap())
}

#[tokio::test]
async fn fifos_carry_output_and_end_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (out, err) = (fifo(dir.path(), "out"), fifo(dir.path(), "err"));
    let mut stdio = Stdio::open(&names("", &out, &err), OWNER, None).await.unwrap();
    let [mut stdin, mut stdout, mut stderr] = child(&mut stdio);
    let mut streams = stdio.run(None).unwrap();
    let readers = tokio::task::spawn_blocking(move || {
        let (mut out, mut err) = (read_fifo(&out), read_fifo(&err));
        let mut text = [String::new(), String::new()];
        out.read_to_string(&mut text[0]).unwrap();
        // stderr is read late: its bytes wait in the fifo.
        err.read_to_string(&mut text[1]).unwrap();
        text
    });
    assert_eq!(stdin.read(&mut [0; 8]).unwrap(), 0, "stdin is /dev/null");
    blocking(move || {
        stderr.write_all(b"oops").unwrap();
        stdout.write_all(&vec![b'x'; 300_000]).unwrap();
        // Both close here.
    })
    .await;
    let [out, err] = timeout(Duration::from_secs(10), readers).await.unwrap().unwrap();
    assert_eq!((out.len(), err.as_str()), (300_000, "oops"));
    streams.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_reader_that_never_comes_blocks_nobody_but_a_full_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let out = fifo(dir.path(), "out");
    let names = names("", &out, "");
    let open = Stdio::open(&names, OWNER, None);
    let mut stdio = timeout(Duration::from_secs(5), open).await.expect("opening must not wait").unwrap();
    let [_stdin, mut stdout, _stderr] = child(&mut stdio);
    let mut streams = stdio.run(None).unwrap();
    blocking(move || stdout.write_all(b"nobody reads this").unwrap()).await;
    let started = std::time::Instant::now();
    streams.drain(Duration::from_millis(200)).await;
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_reader_that_comes_after_the_end_finds_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let out = fifo(dir.path(), "out");
    let mut stdio = Stdio::open(&names("", &out, ""), OWNER, None).await.unwrap();
    let [_stdin, mut stdout, _stderr] = child(&mut stdio);
    let mut streams = stdio.run(None).unwrap();
    blocking(move || stdout.write_all(b"short").unwrap()).await;
    let reader = tokio::spawn(async move {
        // The process has ended: the client was slow to open its end.
        tokio::time::sleep(Duration::from_millis(1300)).await;
        blocking(move || {
            let mut text = String::new();
            read_fifo(&out).read_to_string(&mut text).unwrap();
            text
        })
        .await
    });
    streams.drain(Duration::from_secs(2)).await;
    drop(streams);
    assert_eq!(timeout(Duration::from_secs(5), reader).await.unwrap().unwrap(), "short");
}

#[tokio::test]
async fn a_reader_that_leaves_and_another_that_comes_lose_nothing_between() {
    let dir = tempfile::tempdir().unwrap();
    let out = fifo(dir.path(), "out");
    let mut stdio = Stdio::open(&names("", &out, ""), OWNER, None).await.unwrap();
    let [_stdin, mut stdout, _stderr] = child(&mut stdio);
    let _streams = stdio.run(None).unwrap();
    let first = out.clone();
    let read_one = move |path: String| {
        let mut bytes = [0; 5];
        read_fifo(&path).read_exact(&mut bytes).unwrap();
        bytes
    };
    stdout.write_all(b"first").unwrap();
    assert_eq!(&blocking(move || read_one(first)).await, b"first");
    // The reader is gone: the write must not fail, and the next reader gets it.
    stdout.write_all(b"later").unwrap();
    assert_eq!(&blocking(move || read_one(out)).await, b"later");
}

#[tokio::test]
async fn stdin_ends_when_client_and_close_io_let_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = fifo(dir.path(), "in");
    let mut stdio = Stdio::open(&names(&path, "", ""), OWNER, None).await.unwrap();
    let [mut stdin, ..] = child(&mut stdio);
    let streams = stdio.run(None).unwrap();
    blocking(move || {
        let mut writer = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        writer.write_all(b"hello").unwrap();
    })
    .await;
    let reader = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        stdin.read_to_string(&mut text).unwrap();
        text
    });
    tokio::task::yield_now().await;
    assert!(!reader.is_finished(), "the client is gone, but the stream is not closed");
    streams.close_stdin();
    assert_eq!(timeout(Duration::from_secs(5), reader).await.unwrap().unwrap(), "hello");
}

#[tokio::test]
async fn files_take_both_outputs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("logs/c.log");
    let uri = format!("file://{}", path.display());
    let mut stdio = Stdio::open(&names("", &uri, &uri), OWNER, None).await.unwrap();
    let [_stdin, mut stdout, mut stderr] = child(&mut stdio);
    let mut streams = stdio.run(None).unwrap();
    stdout.write_all(b"out").unwrap();
    stderr.write_all(b"err").unwrap();
    drop((stdout, stderr));
    streams.drain(Duration::from_secs(5)).await;
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.len() == 6 && text.contains("out") && text.contains("err"), "{text}");
}

#[tokio::test]
async fn names_that_make_no_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("plain");
    std::fs::write(&file, "").unwrap();
    let file = file.to_string_lossy().into_owned();
    for bad in [
        names("", "relative", ""),
        names("", "ftp://x", ""),
        names("", "file://relative", ""),
        names("", "/nowhere/fifo", ""),
        names(&file, "", ""),
        names("", "binary:///nowhere/log", ""),
        names("", "binary://log", ""),
        names("", "tare:", ""),
    ] {
        assert!(Stdio::open(&bad, OWNER, None).await.is_err(), "{bad:?}");
    }
}

fn hub(dir: &Path, stdin_once: bool) -> (Arc<Hub>, std::path::PathBuf) {
    let path = dir.join("log");
    let cri = CriLog { path: path.to_string_lossy().into_owned(), max_line: 0 };
    let log = Log::open(&LogConfig { driver: Some(Driver::Cri(cri)) }).unwrap();
    let all = names("tare:", "tare:", "tare:");
    (hub_of(&all, log, true, stdin_once).unwrap().unwrap(), path)
}

async fn run_hub(hub: &Arc<Hub>) -> ([std::fs::File; 3], Streams) {
    let mut stdio =
        Stdio::open(&names("tare:", "tare:", "tare:"), OWNER, Some(Arc::clone(hub))).await.unwrap();
    let child = child(&mut stdio);
    (child, stdio.run(None).unwrap())
}

#[tokio::test]
async fn attached_clients_and_the_log_get_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, log) = hub(dir.path(), false);
    let mut all = hub.attach(true, true, true);
    let mut errors = hub.attach(false, false, true);
    let ([_stdin, mut stdout, mut stderr], mut streams) = run_hub(&hub).await;
    stdout.write_all(b"one\n").unwrap();
    assert_eq!(all.next().await.unwrap(), (Stream::Stdout, b"one\n".to_vec()));
    stderr.write_all(b"two\n").unwrap();
    assert_eq!(all.next().await.unwrap(), (Stream::Stderr, b"two\n".to_vec()));
    assert_eq!(errors.next().await.unwrap(), (Stream::Stderr, b"two\n".to_vec()));
    drop((stdout, stderr));
    streams.drain(Duration::from_secs(5)).await;
    assert!(all.next().await.is_none() && !all.was_cut_off());
    let text = std::fs::read_to_string(log).unwrap();
    assert!(text.contains("stdout F one\n") && text.contains("stderr F two\n"), "{text}");
    assert!(hub.attach(false, true, true).next().await.is_none(), "a late client sees the end at once");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_cut_off_and_the_log_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, log) = hub(dir.path(), false);
    let mut slow = hub.attach(false, true, true);
    let ([_stdin, mut stdout, stderr], mut streams) = run_hub(&hub).await;
    let line = vec![b'x'; 1023];
    // std's thread, not tokio's: the paused clock must be free to jump over the patience.
    let (done, writer_done) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for _ in 0..2000 {
            stdout.write_all(&line).unwrap();
            stdout.write_all(b"\n").unwrap();
        }
        drop(stderr);
        done.send(()).unwrap();
    });
    writer_done.await.unwrap();
    streams.drain(Duration::from_secs(60)).await;
    assert_eq!(std::fs::read_to_string(log).unwrap().lines().count(), 2000);
    let mut got = 0;
    while let Some((_, bytes)) = slow.next().await {
        got += bytes.len();
    }
    assert!(slow.was_cut_off());
    assert!(got < 400 * 1024, "{got} bytes waited for one client");
}

#[tokio::test]
async fn stdin_of_clients_reaches_the_process_and_closes_once() {
    let dir = tempfile::tempdir().unwrap();
    let (hub, _) = hub(dir.path(), true);
    let client = hub.attach(true, false, false);
    let watcher = hub.attach(false, true, true);
    let ([mut stdin, ..], _streams) = run_hub(&hub).await;
    hub.write_stdin(b"hello").await;
    drop(watcher);
    let mut bytes = [0; 5];
    stdin.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    drop(client);
    assert_eq!(
        blocking(move || stdin.read(&mut [0; 8]).unwrap()).await,
        0,
        "the client left: stdin is closed"
    );
    hub.write_stdin(b"into the void").await;
}

#[tokio::test]
async fn a_terminal_is_one_stream_and_takes_input() {
    let flags =
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let slave: OwnedFd =
        rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    let names = Names { terminal: true, ..names("tare:", "tare:", "") };
    let hub = hub_of(&names, None, true, false).unwrap().unwrap();
    let mut client = hub.attach(true, true, false);
    let stdio = Stdio::open(&names, OWNER, Some(Arc::clone(&hub))).await.unwrap();
    assert!(matches!(stdio.io(), tare_runtime::Io::Console));
    let mut streams = stdio.run(Some(master)).unwrap();
    hub.write_stdin(b"echo\n").await;
    let mut seen = Vec::new();
    while seen.len() < 6 {
        seen.extend(client.next().await.unwrap().1);
    }
    assert_eq!(seen, b"echo\r\n");
    assert!(streams.console().is_some());
    drop(slave);
    streams.drain(Duration::from_secs(5)).await;
    assert!(client.next().await.is_none());
}
