//! Health checks: run, counted, shown and told.

use crate::fixture::Door;
use std::time::Duration;

/// Waits until a container's health has the word.
async fn until(door: &Door, name: &str, word: &str) -> serde_json::Value {
    for _ in 0..500 {
        let health = door.get(&format!("/containers/{name}/json")).await.json()["State"]["Health"].clone();
        if health["Status"] == word {
            return health;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never {word}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_makes_a_container_unhealthy_and_healthy_again() {
    let Some(door) = Door::with_image().await else { return };
    let check =
        r#","Healthcheck":{"Test":["CMD-SHELL","echo looked; cat /tmp/ok"],"Interval":50000000,"Retries":2}"#;
    door.run("sick", &["sleep", "1000"], check).await;
    let health = until(&door, "sick", "unhealthy").await;
    assert!(health["FailingStreak"].as_u64().unwrap() >= 2, "{health}");
    let log = health["Log"].as_array().unwrap();
    assert_eq!(log[0]["ExitCode"], 1);
    assert!(log[0]["Output"].as_str().unwrap().starts_with("looked\n"), "{health}");
    let row = door.get("/containers/json").await.json();
    assert!(row[0]["Status"].as_str().unwrap().ends_with(" (unhealthy)"), "{row}");

    let exec = r#"{"Cmd":["sh","-c","echo fine > /tmp/ok"]}"#;
    let exec = door.post("/containers/sick/exec", Some(exec)).await.json()["Id"].as_str().unwrap().to_owned();
    door.post(&format!("/exec/{exec}/start"), Some(r#"{"Detach":true}"#)).await;
    until(&door, "sick", "healthy").await;
    let filters = "%7B%22health%22%3A%5B%22healthy%22%5D%7D";
    let rows = door.get(&format!("/containers/json?filters={filters}")).await.json();
    assert_eq!(rows.as_array().unwrap().len(), 1);
    // The probes are nobody's execs.
    assert!(
        door.get("/containers/sick/json").await.json()["ExecIDs"].as_array().is_none_or(|ids| ids.len() <= 1)
    );

    door.post("/containers/sick/kill", None).await;
    door.wait("sick").await;
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_takes_too_long_is_killed() {
    let Some(door) = Door::with_image().await else { return };
    let check = r#","Healthcheck":{"Test":["CMD","sleep","1000"],"Interval":50000000,"Timeout":100000000,"Retries":1}"#;
    door.run("slow", &["sleep", "1000"], check).await;
    let health = until(&door, "slow", "unhealthy").await;
    assert_eq!(health["Log"][0]["ExitCode"], -1);
    assert_eq!(health["Log"][0]["Output"], "Health check exceeded timeout (100ms)");
    door.close().await;
}
