use super::*;

fn state(status: Status) -> ContainerState {
    ContainerState {
        status,
        exit_code: 3,
        started_at: Some(Timestamp::new(100, 0)),
        finished_at: Some(Timestamp::new(400, 0)),
        ..ContainerState::default()
    }
}

#[test]
fn states_read_as_in_docker() {
    let text = |status| status_text(&state(status), Timestamp::new(520, 0));
    assert_eq!(text(Status::Created), "Created");
    assert_eq!(text(Status::Running), "Up 7 minutes");
    assert_eq!(text(Status::Paused), "Up 7 minutes (Paused)");
    assert_eq!(text(Status::Exited), "Exited (3) 2 minutes ago");
    assert_eq!(text(Status::Restarting), "Restarting (3) 2 minutes ago");
}

#[test]
fn commands_quote_what_has_spaces() {
    let argv = ["sh", "-c", "echo a", "b"].map(str::to_owned);
    assert_eq!(command_text(&argv), "sh -c 'echo a' b");
    assert_eq!(command_text(&[]), "");
}

fn refused(json: &str) -> String {
    let filters = Filters::parse(json).unwrap();
    let selection = Selection { filters, ..Selection::default() };
    select(&[], &selection, Timestamp::new(0, 0)).unwrap_err().message().to_owned()
}

#[test]
fn bad_filters_are_refused_in_dockerds_words() {
    assert_eq!(
        refused(r#"{"status":["up"]}"#),
        "invalid filter 'status=up': invalid value for state (up): must be one of created, running, paused, restarting, removing, exited, dead"
    );
    assert_eq!(refused(r#"{"before":["x"]}"#), "No such container: x");
    assert_eq!(
        refused(r#"{"exited":["x"]}"#),
        "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"
    );
}

#[test]
fn ports_are_ranges() {
    let filters = Filters::parse(r#"{"publish":["80","8000-8010/udp"]}"#).unwrap();
    let ranges = port_ranges(&filters, "publish").unwrap();
    assert_eq!(ranges, [(80, 80, "tcp".to_owned()), (8000, 8010, "udp".to_owned())]);
    let filters = Filters::parse(r#"{"publish":["a"]}"#).unwrap();
    assert!(port_ranges(&filters, "publish").is_err());
}
