//! The part of Go's text/template that people use with `--format`: fields, pipelines, `json`, `range`, `if`,
//! `with`, `index`, `len`, `join`, `upper`, `lower`, `printf`, `println`, comparison and variables' dot.
//!
//! Values are JSON. A field that is missing is an error, as with Go structs, and prints nothing in maps.

mod evaluate;
mod parse;

use crate::failure::Failure;
use serde_json::Value;

/// A template, ready to be run on many values.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses the text between and inside `{{ }}`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let nodes = parse::parse(text).map_err(|reason| {
            Failure::new(format!("template parsing error: template: :1: {reason}")).with_code(64)
        })?;
        Ok(Self { nodes })
    }

    /// The text for one value.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Failure> {
        let mut text = String::new();
        evaluate::run(&self.nodes, value, value, &mut text).map_err(|reason| {
            Failure::new(format!("template parsing error: template: :1: executing \"\" {reason}"))
        })?;
        Ok(text)
    }

    /// The names of the fields, upper case: the header of `table {{.A}}\t{{.B}}`.
    pub(crate) fn header(&self) -> String {
        parse::header(&self.nodes)
    }
}

/// Rows by `--format`: `json`, `table …`, `raw …` or a template; `None` for the built-in table.
pub(crate) fn render_rows(format: &str, rows: &[Value]) -> Result<String, Failure> {
    if format == "json" {
        return Ok(rows.iter().map(|row| format!("{}\n", sorted(row))).collect());
    }
    let (table, body) = match format.strip_prefix("table") {
        Some(rest) => (true, rest.trim_start()),
        None => (false, format),
    };
    let template = Template::parse(&body.replace("\\t", "\t").replace("\\n", "\n"))?;
    let lines = rows.iter().map(|row| template.render(row)).collect::<Result<Vec<_>, _>>()?;
    if !table {
        return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
    }
    let cells = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
    let mut shown = super::table::Table::with_header(cells(&template.header()));
    lines.iter().for_each(|line| shown.row(cells(line)));
    Ok(shown.render())
}

/// A row with its members by name, as docker prints it.
fn sorted(row: &Value) -> Value {
    match row {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            Value::Object(members.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let value = json!({"ID": "abc", "State": {"Running": true, "Pid": 12, "Err": ""}, "Names": ["a", "b"],
            "Labels": {"k.x": "v"}, "Ports": [{"P": 1}, {"P": 2}], "Zero": 0});
        assert_eq!(Template::parse(template).unwrap().render(&value).unwrap(), expected, "{template}");
    }

    #[test]
    fn templates_of_daily_life() {
        check("{{.ID}}", "abc");
        check("{{ .State.Pid }}-{{.State.Running}}", "12-true");
        check("{{json .State}}", r#"{"Running":true,"Pid":12,"Err":""}"#);
        check("{{.State | json}}", r#"{"Running":true,"Pid":12,"Err":""}"#);
        check("{{range .Names}}<{{.}}>{{end}}", "<a><b>");
        check("{{range $i, $n := .Names}}{{$i}}={{$n}} {{end}}", "0=a 1=b ");
        check("{{range .Ports}}{{.P}}{{$.ID}},{{end}}", "1abc,2abc,");
        check("{{if .State.Running}}up{{else}}down{{end}}", "up");
        check("{{if .State.Err}}x{{else if .Zero}}y{{else}}z{{end}}", "z");
        check("{{index .Labels \"k.x\"}}", "v");
        check("{{index .Names 1}}", "b");
        check("{{(index .Ports 0).P}}", "1");
        check("{{len .Names}} {{join .Names \",\"}} {{upper .ID}}", "2 a,b ABC");
        check("{{with .State}}{{.Pid}}{{end}}", "12");
        check("{{if eq .ID \"abc\"}}y{{end}}{{if and .ID (not .Zero)}}n{{end}}", "yn");
        check("{{printf \"%s:%d\" .ID .State.Pid}}", "abc:12");
        check("a {{- \"x\" -}} b", "axb");
        check("{{.Names}}", "[a b]");
        check("{{println .ID}}", "abc\n");
        check("{{.Labels}}", "map[k.x:v]");
        check("{{.state.PID}}", "12");
    }

    #[test]
    fn faults_are_named() {
        assert!(Template::parse("{{.A").is_err());
        assert!(Template::parse("{{range .A}}").is_err());
        assert!(Template::parse("{{nofunc .A}}").is_err());
        let missing = Template::parse("{{.Nope.X}}").unwrap().render(&json!({"A": 1})).unwrap_err();
        assert!(missing.message.contains("Nope"), "{missing}");
    }

    #[test]
    fn tables_take_their_header_from_the_fields() {
        let rows = [json!({"ID": "1", "Name": "x"})];
        assert_eq!(render_rows("table {{.ID}}\\t{{.Name}}", &rows).unwrap(), "ID        NAME\n1         x\n");
        assert_eq!(render_rows("{{.ID}}", &rows).unwrap(), "1\n");
        let labelled = [json!({"Labels": "a=1,b.c=2"})];
        assert_eq!(render_rows("{{.Label \"b.c\"}}-{{.Label \"z\"}}", &labelled).unwrap(), "2-\n");
        let unordered = [json!({"b": 1, "a": 2})];
        assert_eq!(render_rows("json", &unordered).unwrap(), "{\"a\":2,\"b\":1}\n");
        assert_eq!(render_rows("json", &rows).unwrap(), "{\"ID\":\"1\",\"Name\":\"x\"}\n");
    }
}
