use super::*;
use proptest::prelude::*;
use std::{format, string::String, vec};

fn time() -> Timestamp {
    Timestamp::parse("2026-11-21T05:50:24.000456Z").unwrap()
}

fn json(text: &[u8], partial: bool, attrs: &[u8]) -> String {
    let mut out = Vec::new();
    push_json_line(&mut out, time(), Stream::Stderr, text, partial, attrs);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_lines_are_dockers() {
    assert_eq!(
        json(b"a\t\"b\" <c>\x01", false, b""),
        "{\"log\":\"a\\t\\\"b\\\" \\u003cc\\u003e\\u0001\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-21T05:50:24.000456000Z\"}\n"
    );
    let attrs = encode_attrs([("tag", "x"), ("k\"", "v")]);
    assert_eq!(
        json(b"", true, &attrs),
        "{\"log\":\"\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"x\",\"k\\\"\":\"v\"},\"time\":\"2026-11-21T05:50:24.000456000Z\"}\n"
    );
    assert!(encode_attrs([]).is_empty());
}

#[test]
fn json_keeps_text_and_replaces_what_is_none() {
    let line = json(b"\xff\xc3\xa4\xe2\x80\xa8\xe2\x82\xac", false, b"");
    assert!(line.contains("\u{fffd}\u{e4}\\u2028\u{20ac}\\n"), "{line}");
    let read = parse_json_line(line.as_bytes()).unwrap();
    assert_eq!(&*read.text, "\u{fffd}\u{e4}\u{2028}\u{20ac}".as_bytes());
}

#[test]
fn cri_lines_are_the_kubelets() {
    let mut out = Vec::new();
    push_cri_line(&mut out, time(), Stream::Stdout, b"hello  world", true);
    assert_eq!(out, b"2026-11-21T05:50:24.000456000Z stdout P hello  world\n");
    let line = parse_cri_line(&out).unwrap();
    assert_eq!((line.time, line.partial, &*line.text), (time(), true, &b"hello  world"[..]));
    assert!(parse_cri_line(b"2026-11-21T05:50:24Z stdout F:x ").is_some_and(|line| line.text.is_empty()));
}

#[test]
fn half_lines_are_refused() {
    for line in ["", "{", "{\"log\":\"a\"}", "{\"log\":\"a\",\"stream\":\"stdout\",\"time\":\"x\"}"] {
        assert!(parse_json_line(line.as_bytes()).is_none(), "{line}");
    }
    for line in ["", "2026-11-21T05:50:24Z", "2026-11-21T05:50:24Z stdout", "2026-11-21T05:50:24Z std F x"] {
        assert!(parse_cri_line(line.as_bytes()).is_none(), "{line}");
    }
}

fn cut(max: usize, parts: &[&[u8]]) -> Vec<(Vec<u8>, bool)> {
    let (mut cutter, mut lines) = (LineCutter::new(max), vec![]);
    for part in parts {
        cutter.push(part, |text, partial| lines.push((text.to_vec(), partial)));
    }
    cutter.finish(|text, partial| lines.push((text.to_vec(), partial)));
    lines
}

#[test]
fn lines_are_cut_at_line_feeds_and_at_the_limit() {
    assert_eq!(cut(4, &[b"ab\n\ncd"]), [(b"ab".to_vec(), false), (vec![], false), (b"cd".to_vec(), true)]);
    assert_eq!(cut(4, &[b"abcd\n"]), [(b"abcd".to_vec(), false)]);
    assert_eq!(cut(4, &[b"ab", b"cd", b"\n"]), [(b"abcd".to_vec(), false)]);
    assert_eq!(cut(4, &[b"abcde\n"]), [(b"abcd".to_vec(), true), (b"e".to_vec(), false)]);
}

proptest! {
    #[test]
    fn json_round_trips(text in "[^\n]{0,40}", partial: bool) {
        let line = json(text.as_bytes(), partial, b"");
        prop_assert_eq!(line.matches('\n').count(), 1);
        let read = parse_json_line(line.as_bytes()).unwrap();
        prop_assert_eq!((&*read.text, read.partial, read.time), (text.as_bytes(), partial, time()));
    }

    #[test]
    fn cutting_loses_nothing(text in "[ab\n]{0,60}", at in 0..60usize, max in 1..9usize) {
        let bytes = text.as_bytes();
        let (left, right) = bytes.split_at(at.min(bytes.len()));
        let whole: String = cut(max, &[left, right])
            .into_iter()
            .map(|(line, partial)| {
                assert!(line.len() <= max);
                format!("{}{}", lossy(&line), if partial { "" } else { "\n" })
            })
            .collect();
        prop_assert_eq!(whole, text);
    }
}
