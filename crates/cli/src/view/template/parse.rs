//! Text to nodes.

use serde_json::Value;

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    /// `if`/`with`: bind says whether dot changes.
    Branch {
        bind: bool,
        condition: Pipeline,
        then: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Range {
        names: Vec<String>,
        over: Pipeline,
        body: Vec<Node>,
        otherwise: Vec<Node>,
    },
    Assign {
        name: String,
        value: Pipeline,
    },
}

/// `a | b | c`
#[derive(Debug)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

/// A function with arguments, or one operand.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) function: Option<String>,
    pub(super) arguments: Vec<Operand>,
}

/// What a command works on.
#[derive(Debug)]
pub(super) enum Operand {
    Literal(Value),
    /// `.A.B`, or `.` for no fields.
    Dot(Vec<String>),
    /// `$x.A`; the empty name is the root.
    Variable(String, Vec<String>),
    Nested(Pipeline, Vec<String>),
}

/// Functions that a template may call.
const FUNCTIONS: [&str; 22] = [
    "json", "join", "upper", "lower", "title", "split", "len", "index", "print", "printf", "println", "eq",
    "ne", "lt", "le", "gt", "ge", "and", "or", "not", "truncate", "pad",
];

/// Parses a whole template.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = split(text)?.into_iter();
    let (nodes, end) = block(&mut pieces)?;
    match end {
        None => Ok(nodes),
        Some(word) => Err(format!("unexpected {{{{{word}}}}}")),
    }
}

/// Upper case names of the printed fields with the text between them.
pub(super) fn header(nodes: &[Node]) -> String {
    nodes
        .iter()
        .map(|node| match node {
            Node::Text(text) => text.clone(),
            Node::Print(pipeline) => pipeline_name(pipeline).unwrap_or_default(),
            _ => String::new(),
        })
        .collect()
}

fn pipeline_name(pipeline: &Pipeline) -> Option<String> {
    let operand = pipeline.0.first()?.arguments.first()?;
    let (Operand::Dot(fields) | Operand::Variable(_, fields)) = operand else { return None };
    let name = fields.last()?;
    let known = match name.as_str() {
        "ID" => "CONTAINER ID",
        "RunningFor" | "CreatedSince" => "CREATED",
        "CreatedAt" => "CREATED AT",
        "CPUPerc" => "CPU %",
        "MemUsage" => "MEM USAGE / LIMIT",
        "MemPerc" => "MEM %",
        "NetIO" => "NET I/O",
        "BlockIO" => "BLOCK I/O",
        _ => return Some(name.to_uppercase()),
    };
    // Only containers call their id so; a table of one field of that name is still clear.
    Some(if name == "ID" { "ID".to_owned() } else { known.to_owned() })
}

enum Piece {
    Text(String),
    Action(String),
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest, mut trim) = (Vec::new(), text, false);
    while let Some(start) = rest.find("{{") {
        let after = &rest[start + 2..];
        let end = action_end(after).ok_or("unclosed action")?;
        let mut action = &after[..end];
        let mut before = &rest[..start];
        if trim {
            before = before.trim_start();
        }
        if let Some(stripped) = action.strip_prefix("- ") {
            action = stripped;
            before = before.trim_end();
        }
        trim = false;
        if let Some(stripped) = action.strip_suffix(" -") {
            action = stripped;
            trim = true;
        }
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(Piece::Action(action.trim().to_owned()));
        rest = &after[end + 2..];
    }
    pieces.push(Piece::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
    Ok(pieces)
}

/// Position of `}}` outside of quotes.
fn action_end(text: &str) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if text[at..].starts_with("}}") => return Some(at),
            None => {}
        }
    }
    None
}

/// Nodes up to `end` or `else …`, which is returned.
fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Result<(Vec<Node>, Option<String>), String> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let action = match piece {
            Piece::Text(text) => {
                if !text.is_empty() {
                    nodes.push(Node::Text(text));
                }
                continue;
            }
            Piece::Action(action) => action,
        };
        let (word, rest) = action.split_once(char::is_whitespace).unwrap_or((action.as_str(), ""));
        match word {
            "end" | "else" => return Ok((nodes, Some(action))),
            "if" | "with" => nodes.push(branch(word == "with", rest, pieces)?),
            "range" => nodes.push(range(rest, pieces)?),
            _ if action.starts_with("/*") => {}
            _ => match assignment(&action) {
                Some((name, value)) => nodes.push(Node::Assign { name, value: pipeline(value)? }),
                None => nodes.push(Node::Print(pipeline(&action)?)),
            },
        }
    }
    Ok((nodes, None))
}

fn assignment(action: &str) -> Option<(String, &str)> {
    let (name, value) = action.split_once(":=").or_else(|| action.split_once(" = "))?;
    let name = name.trim().strip_prefix('$')?;
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_').then(|| (name.to_owned(), value))
}

fn branch(bind: bool, condition: &str, pieces: &mut std::vec::IntoIter<Piece>) -> Result<Node, String> {
    let condition = pipeline(condition)?;
    let (then, end) = block(pieces)?;
    let otherwise = match end.as_deref() {
        Some("end") => Vec::new(),
        Some("else") => closed(pieces)?,
        Some(other) => {
            let rest = other.strip_prefix("else").unwrap_or(other).trim();
            let (word, condition) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            if word != "if" && word != "with" {
                return Err(format!("unexpected <{word}> after else"));
            }
            vec![branch(word == "with", condition, pieces)?]
        }
        None => return Err("unexpected EOF".to_owned()),
    };
    Ok(Node::Branch { bind, condition, then, otherwise })
}

fn range(head: &str, pieces: &mut std::vec::IntoIter<Piece>) -> Result<Node, String> {
    let (names, over) = match head.split_once(":=") {
        Some((names, over)) => {
            (names.split(',').map(|name| name.trim().trim_start_matches('$').to_owned()).collect(), over)
        }
        None => (Vec::new(), head),
    };
    let over = pipeline(over)?;
    let (body, end) = block(pieces)?;
    let otherwise = match end.as_deref() {
        Some("end") => Vec::new(),
        Some("else") => closed(pieces)?,
        _ => return Err("unexpected EOF".to_owned()),
    };
    Ok(Node::Range { names, over, body, otherwise })
}

fn closed(pieces: &mut std::vec::IntoIter<Piece>) -> Result<Vec<Node>, String> {
    match block(pieces)? {
        (nodes, Some(word)) if word == "end" => Ok(nodes),
        _ => Err("unexpected EOF".to_owned()),
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Pipe,
    Open,
    /// `)` with the fields that follow it directly.
    Close(Vec<String>),
}

fn pipeline(text: &str) -> Result<Pipeline, String> {
    let tokens = tokens(text)?;
    let mut at = 0;
    let pipeline = commands(&tokens, &mut at)?;
    if at == tokens.len() { Ok(pipeline) } else { Err("unexpected \")\"".to_owned()) }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let used = match first {
            '|' => {
                tokens.push(Token::Pipe);
                1
            }
            '(' => {
                tokens.push(Token::Open);
                1
            }
            ')' => {
                let fields = &rest[1..rest[1..].find(|c| !is_field(c)).map_or(rest.len(), |at| at + 1)];
                tokens.push(Token::Close(fields_of(fields)));
                1 + fields.len()
            }
            '"' => {
                let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                match stream.next() {
                    Some(Ok(value)) => tokens.push(Token::Text(value)),
                    _ => return Err("unterminated quoted string".to_owned()),
                }
                stream.byte_offset()
            }
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            _ => {
                let end =
                    rest.find(|c: char| c.is_whitespace() || "|()\"`".contains(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..end].to_owned()));
                end
            }
        };
        rest = rest[used..].trim_start();
    }
    Ok(tokens)
}

fn is_field(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

fn fields_of(text: &str) -> Vec<String> {
    text.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect()
}

fn commands(tokens: &[Token], at: &mut usize) -> Result<Pipeline, String> {
    let mut commands = Vec::new();
    loop {
        let mut command = Command { function: None, arguments: Vec::new() };
        while let Some(token) = tokens.get(*at) {
            match token {
                Token::Pipe | Token::Close(_) => break,
                Token::Open => {
                    *at += 1;
                    let nested = commands_until_close(tokens, at)?;
                    command.arguments.push(nested);
                    continue;
                }
                Token::Text(text) => command.arguments.push(Operand::Literal(Value::from(text.clone()))),
                Token::Word(word) => word_operand(word, &mut command)?,
            }
            *at += 1;
        }
        if command.function.is_none() && command.arguments.is_empty() {
            return Err("missing value for command".to_owned());
        }
        commands.push(command);
        match tokens.get(*at) {
            Some(Token::Pipe) => *at += 1,
            _ => return Ok(Pipeline(commands)),
        }
    }
}

fn commands_until_close(tokens: &[Token], at: &mut usize) -> Result<Operand, String> {
    let nested = commands(tokens, at)?;
    match tokens.get(*at) {
        Some(Token::Close(fields)) => {
            *at += 1;
            Ok(Operand::Nested(nested, fields.clone()))
        }
        _ => Err("unclosed left paren".to_owned()),
    }
}

fn word_operand(word: &str, command: &mut Command) -> Result<(), String> {
    let operand = if let Some(rest) = word.strip_prefix('$') {
        let (name, fields) = rest.split_once('.').unwrap_or((rest, ""));
        Operand::Variable(name.to_owned(), fields_of(fields))
    } else if word.starts_with('.') {
        Operand::Dot(fields_of(word))
    } else if let Ok(value) = word.parse::<Value>() {
        Operand::Literal(value)
    } else if word == "nil" {
        Operand::Literal(Value::Null)
    } else if FUNCTIONS.contains(&word) {
        if command.function.is_some() || !command.arguments.is_empty() {
            return Err(format!("function {word} must come first"));
        }
        command.function = Some(word.to_owned());
        return Ok(());
    } else {
        return Err(format!("function \"{word}\" not defined"));
    };
    command.arguments.push(operand);
    Ok(())
}
