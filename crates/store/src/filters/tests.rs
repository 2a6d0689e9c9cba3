use super::{Fields, Filters};
use crate::Labels;
use proptest::prelude::*;
use std::borrow::Cow;

struct Object {
    name: &'static str,
    labels: Labels,
}

impl Fields for Object {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some(Cow::Borrowed(self.name)),
            ["labels", key @ ..] => super::label(&self.labels, key),
            _ => None,
        }
    }
}

fn object() -> Object {
    let labels = [("a", "1"), ("io.x/y", "two words"), ("a.b", "3"), ("empty", "")];
    let labels = labels.into_iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Object { name: "foo/bar", labels }
}

#[track_caller]
fn check(filters: &[&str], expected: bool) {
    assert_eq!(Filters::parse(filters).unwrap().matches(&object()), expected, "{filters:?}");
}

#[test]
fn operators_compare() {
    check(&[], true);
    check(&[""], true);
    check(&["name"], true);
    check(&["name==foo/bar"], true);
    check(&["name==foo"], false);
    check(&["name!=foo"], true);
    check(&["name!=foo/bar"], false);
    check(&["name~=^foo"], true);
    check(&["name~=bar$"], true);
    check(&["name~=^bar"], false);
    check(&["labels.a==1"], true);
    check(&["labels.empty"], true);
    check(&[r#"labels.empty=="""#], true);
    check(&["labels.absent"], false);
    check(&["labels.absent!=x"], true);
    check(&["nosuchfield!=x"], true);
    check(&["nosuchfield==x"], false);
    // What is not there reads as an empty text: "has a parent" is parent!="".
    check(&[r#"nosuchfield!="""#], false);
    check(&[r#"nosuchfield=="""#], false);
    check(&["labels.absent~=^$"], true);
    check(&["labels.absent~=."], false);
}

#[test]
fn keys_and_values_may_be_quoted() {
    check(&[r#"labels."io.x/y"=="two words""#], true);
    check(&[r#"labels."a.b"==3"#], true);
    check(&["labels.a.b==3"], true);
    check(&[r#"name=="foo\/bar""#.replace("\\/", "/").as_str()], true);
    check(&[r#"labels."io.x/y"=="two\x20words""#], true);
    check(&["name~=/^foo\\/bar$/"], true);
    check(&["name~=|^foo/b.r$|"], true);
    check(&[r#"name~="foo|bar""#], true);
    check(&["name~=/a,b|foo/,labels.a==1"], true);
}

#[test]
fn commas_join_and_filters_choose() {
    check(&["name==foo/bar,labels.a==1"], true);
    check(&["name==foo/bar,labels.a==2"], false);
    check(&["name==x", "labels.a==1"], true);
    check(&["name==x", "labels.a==2"], false);
}

#[test]
fn faults_have_a_position() {
    for bad in [
        "==x",
        "name=",
        "name=x",
        "name==x,",
        ",",
        "name==\"x",
        "name~=[",
        "labels.",
        "name=>x",
        "a b",
        "name==a\"b",
    ] {
        let error = Filters::parse(&[bad]).unwrap_err();
        assert_eq!(error.kind(), tare_types::ErrorKind::InvalidArgument, "{bad}");
    }
    let error = Filters::parse(&["name==x,!"]).unwrap_err();
    assert!(error.to_string().contains("at byte 8"), "{error}");
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z\"/|.,=!~\\\\ é]{0,40}") {
        if let Ok(filters) = Filters::parse(&[text]) {
            filters.matches(&object());
        }
    }

    #[test]
    fn any_value_can_be_quoted(value in any::<String>()) {
        let quoted: String = value.chars().map(|c| format!("\\U{:08x}", c as u32)).collect();
        let labels = [("k".to_string(), value)].into_iter().collect();
        let filters = Filters::parse(&[format!("labels.k==\"{quoted}\"")]).unwrap();
        let matches = filters.matches(&Object { name: "", labels });
        prop_assert!(matches);
    }
}
