//! Creating, starting, joining, killing, deleting.

use crate::bundle::{Bundle, able};
use tare_runtime::Exit;

#[test]
fn a_container_runs_and_leaves_nothing() {
    if !able() {
        return;
    }
    let bundle = Bundle::new("run");
    let text = bundle.output("echo hello; hostname; id -u; pwd; echo $HOME; ls /proc | head -1");
    assert_eq!(text.lines().collect::<Vec<_>>()[..5], ["hello", "runc", "0", "/", "/root"], "{text}");
    let (exit, _) = bundle.run(&bundle.spec("exit 42", |_| {})).unwrap();
    assert_eq!(exit, Exit::Code(42));
}
