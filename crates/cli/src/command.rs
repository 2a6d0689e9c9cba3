//! What each verb does.

pub(crate) mod bootstrap;
pub(crate) mod copy;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod networks;
pub(crate) mod run;
pub(crate) mod session;
pub(crate) mod simple;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod transfer;
pub(crate) mod volumes;

use crate::failure::Failure;

/// Runs one action per name, prints what it returns, goes on after a failure and reports it at the end.
pub(crate) async fn for_each<F, Fut>(names: &[String], mut action: F) -> Result<(), Failure>
where
    F: FnMut(String) -> Fut,
    Fut: Future<Output = Result<String, Failure>>,
{
    let mut failed = false;
    for name in names {
        match action(name.clone()).await {
            Ok(text) if text.is_empty() => {}
            Ok(text) => println!("{text}"),
            Err(failure) => {
                eprintln!("{failure}");
                failed = true;
            }
        }
    }
    if failed { Err(Failure::exit(1)) } else { Ok(()) }
}
