//! Nodes to text.

use super::parse::{Command, Node, Operand, Pipeline};
use serde_json::Value;
use std::cmp::Ordering;

struct Scope<'a> {
    root: &'a Value,
    variables: Vec<(String, Value)>,
}

/// Runs nodes on a value.
pub(super) fn run(nodes: &[Node], dot: &Value, root: &Value, out: &mut String) -> Result<(), String> {
    let mut scope = Scope { root, variables: Vec::new() };
    scope.nodes(nodes, dot, out)
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value, out: &mut String) -> Result<(), String> {
        let depth = self.variables.len();
        for node in nodes {
            match node {
                Node::Text(text) => out.push_str(text),
                Node::Print(pipeline) => out.push_str(&show(&self.pipeline(pipeline, dot)?)),
                Node::Assign { name, value } => {
                    let value = self.pipeline(value, dot)?;
                    self.variables.push((name.clone(), value));
                }
                Node::Branch { bind, condition, then, otherwise } => {
                    let value = self.pipeline(condition, dot)?;
                    if truth(&value) {
                        self.nodes(then, if *bind { &value } else { dot }, out)?;
                    } else {
                        self.nodes(otherwise, dot, out)?;
                    }
                }
                Node::Range { names, over, body, otherwise } => {
                    let over = self.pipeline(over, dot)?;
                    self.range(names, &over, (body, otherwise), dot, out)?;
                }
            }
        }
        self.variables.truncate(depth);
        Ok(())
    }

    fn range(
        &mut self,
        names: &[String],
        over: &Value,
        (body, otherwise): (&[Node], &[Node]),
        dot: &Value,
        out: &mut String,
    ) -> Result<(), String> {
        let entries: Vec<(Value, &Value)> = match over {
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, item)| (Value::from(at), item)).collect()
            }
            Value::Object(map) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by_key(|(key, _)| key.as_str());
                entries.into_iter().map(|(key, item)| (Value::from(key.as_str()), item)).collect()
            }
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", show(other))),
        };
        if entries.is_empty() {
            return self.nodes(otherwise, dot, out);
        }
        for (key, item) in entries {
            let depth = self.variables.len();
            match names {
                [value] => self.variables.push((value.clone(), item.clone())),
                [index, value, ..] => {
                    self.variables.push((index.clone(), key));
                    self.variables.push((value.clone(), item.clone()));
                }
                [] => {}
            }
            self.nodes(body, item, out)?;
            self.variables.truncate(depth);
        }
        Ok(())
    }

    fn pipeline(&self, pipeline: &Pipeline, dot: &Value) -> Result<Value, String> {
        let mut previous: Option<Value> = None;
        for command in &pipeline.0 {
            previous = Some(self.command(command, dot, previous)?);
        }
        Ok(previous.unwrap_or(Value::Null))
    }

    fn command(&self, command: &Command, dot: &Value, previous: Option<Value>) -> Result<Value, String> {
        if let Some(found) = self.method(command, dot)? {
            return Ok(found);
        }
        let mut arguments = command
            .arguments
            .iter()
            .map(|operand| self.operand(operand, dot))
            .collect::<Result<Vec<_>, _>>()?;
        arguments.extend(previous);
        match (&command.function, arguments.len()) {
            (Some(function), _) => call(function, &arguments),
            (None, 1) => Ok(arguments.remove(0)),
            (None, _) => Err("can't give argument to non-function".to_owned()),
        }
    }

    /// `.Label "name"`: the one method that rows have; `None` for anything else.
    fn method(&self, command: &Command, dot: &Value) -> Result<Option<Value>, String> {
        let [Operand::Dot(path), argument] = command.arguments.as_slice() else { return Ok(None) };
        if command.function.is_some() || path.last().map(String::as_str) != Some("Label") {
            return Ok(None);
        }
        let name = show(&self.operand(argument, dot)?);
        let labels = fields(dot, &["Labels".to_owned()])?;
        let labels = labels.as_str().unwrap_or_default();
        let of_label = |pair: &str| pair.strip_prefix(name.as_str())?.strip_prefix('=').map(str::to_owned);
        Ok(Some(Value::from(labels.split(',').find_map(of_label).unwrap_or_default())))
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Dot(path) => fields(dot, path),
            Operand::Variable(name, path) if name.is_empty() => fields(self.root, path),
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                fields(&found.ok_or_else(|| format!("undefined variable \"${name}\""))?.1, path)
            }
            Operand::Nested(pipeline, path) => fields(&self.pipeline(pipeline, dot)?, path),
        }
    }
}

fn fields(value: &Value, path: &[String]) -> Result<Value, String> {
    let mut value = value;
    for (depth, field) in path.iter().enumerate() {
        value = match value {
            Value::Object(map) => match map.get(field).or_else(|| in_any_case(map, field)) {
                Some(found) => found,
                None if depth + 1 == path.len() && depth > 0 => return Ok(Value::from("<no value>")),
                None => {
                    return Err(format!("at <.{}>: map has no entry for key \"{field}\"", path.join(".")));
                }
            },
            Value::Null => return Ok(Value::from("<no value>")),
            _ => return Err(format!("at <.{}>: can't evaluate field {field}", path.join("."))),
        };
    }
    Ok(value.clone())
}

/// Go names a field `APIVersion` that its JSON calls `ApiVersion`.
fn in_any_case<'a>(map: &'a serde_json::Map<String, Value>, field: &str) -> Option<&'a Value> {
    map.iter().find(|(key, _)| key.eq_ignore_ascii_case(field)).map(|(_, value)| value)
}

/// Go's truth: not the zero value.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Go's `%v`.
fn show(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut entries: Vec<String> =
                map.iter().map(|(key, item)| format!("{key}:{}", show(item))).collect();
            entries.sort();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

fn call(function: &str, arguments: &[Value]) -> Result<Value, String> {
    let first =
        || arguments.first().ok_or_else(|| format!("wrong number of args for {function}: want 1 got 0"));
    Ok(match function {
        "json" => Value::from(first()?.to_string()),
        "upper" => Value::from(show(first()?).to_uppercase()),
        "lower" => Value::from(show(first()?).to_lowercase()),
        "title" => {
            let text = show(first()?);
            let mut chars = text.chars();
            Value::from(chars.next().map_or(String::new(), |c| c.to_uppercase().chain(chars).collect()))
        }
        "join" => {
            let separator = arguments.get(1).map(show).unwrap_or_default();
            let items = first()?.as_array().map(Vec::as_slice).unwrap_or_default();
            Value::from(items.iter().map(show).collect::<Vec<_>>().join(&separator))
        }
        "split" => {
            let separator = arguments.get(1).map(show).unwrap_or_default();
            Value::from(show(first()?).split(separator.as_str()).map(str::to_owned).collect::<Vec<_>>())
        }
        "truncate" => {
            let length = arguments.get(1).and_then(Value::as_u64).unwrap_or(0) as usize;
            Value::from(show(first()?).chars().take(length).collect::<String>())
        }
        "pad" => {
            let spaces =
                |at: usize| " ".repeat(arguments.get(at).and_then(Value::as_u64).unwrap_or(0) as usize);
            Value::from(format!("{}{}{}", spaces(1), show(first()?), spaces(2)))
        }
        "len" => Value::from(length(first()?)?),
        "index" => index(first()?, &arguments[1..])?,
        "print" => Value::from(arguments.iter().map(show).collect::<String>()),
        "println" => Value::from(format!("{}\n", arguments.iter().map(show).collect::<Vec<_>>().join(" "))),
        "printf" => Value::from(format_verbs(&show(first()?), &arguments[1..])),
        "and" => arguments.iter().find(|v| !truth(v)).or(arguments.last()).cloned().unwrap_or_default(),
        "or" => arguments.iter().find(|v| truth(v)).or(arguments.last()).cloned().unwrap_or_default(),
        "not" => Value::from(!truth(first()?)),
        "eq" => Value::from(
            arguments[1..].iter().any(|other| compare(&arguments[0], other) == Some(Ordering::Equal)),
        ),
        _ => Value::from(ordered(function, arguments)?),
    })
}

fn ordered(function: &str, arguments: &[Value]) -> Result<bool, String> {
    let [left, right] = arguments else { return Err(format!("wrong number of args for {function}")) };
    let order = compare(left, right);
    Ok(match function {
        "ne" => order != Some(Ordering::Equal),
        "lt" => order == Some(Ordering::Less),
        "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "gt" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

fn compare(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (a, b) => (a == b).then_some(Ordering::Equal),
    }
}

fn length(value: &Value) -> Result<usize, String> {
    match value {
        Value::String(text) => Ok(text.len()),
        Value::Array(items) => Ok(items.len()),
        Value::Object(map) => Ok(map.len()),
        Value::Null => Ok(0),
        other => Err(format!("error calling len: len of type {other}")),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value;
    for key in keys {
        value = match (value, key) {
            (Value::Array(items), Value::Number(at)) => {
                let at = at.as_u64().unwrap_or(u64::MAX) as usize;
                items.get(at).ok_or_else(|| format!("error calling index: index out of range: {at}"))?
            }
            (Value::Object(map), Value::String(name)) => match map.get(name) {
                Some(found) => found,
                None => return Ok(Value::from("")),
            },
            (Value::Null, _) => return Err("error calling index: index of untyped nil".to_owned()),
            _ => return Err("error calling index: can't index item".to_owned()),
        };
    }
    Ok(value.clone())
}

fn format_verbs(format: &str, arguments: &[Value]) -> String {
    let mut out = String::new();
    let mut arguments = arguments.iter();
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut width = String::new();
        while let Some(&digit) = chars.peek().filter(|c| c.is_ascii_digit() || matches!(c, '-' | '.')) {
            width.push(digit);
            chars.next();
        }
        match chars.next() {
            Some('%') | None => out.push('%'),
            Some(verb) => {
                let value = arguments.next();
                let text = match (verb, value) {
                    ('q', Some(value)) => Value::from(show(value)).to_string(),
                    (_, Some(value)) => show(value),
                    (verb, None) => format!("%!{verb}(MISSING)"),
                };
                match width.parse::<i64>() {
                    Ok(wide) if wide < 0 => {
                        out.push_str(&format!("{text:<0$}", wide.unsigned_abs() as usize))
                    }
                    Ok(wide) => out.push_str(&format!("{text:>0$}", wide as usize)),
                    Err(_) => out.push_str(&text),
                }
            }
        }
    }
    out
}
