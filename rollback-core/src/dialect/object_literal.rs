//! An object as TypeScript and JSON write it: keys with or without quotes, three kinds of quotes,
//! comments, commas at the end. What stands around it (interfaces, `export const NAME: Type =`) is
//! passed over.

use super::reading::Trouble;
use crate::policy::{
    Place,
    tree::{Entry, Node, Value},
};

/// The constant that is looked for.
const NAME: &str = "DEFAULT_ROLLBACK_CONFIG";
/// No configuration that people write is deeper.
const DEEPEST: usize = 32;
/// Nor longer.
const LONGEST: usize = 1 << 20;

/// The object: the text itself, or what is assigned to `DEFAULT_ROLLBACK_CONFIG`.
pub(super) fn parse(text: &str) -> Result<Node, Trouble> {
    let mut cursor = Cursor {
        text: text.chars().collect(),
        at: 0,
        line: 1,
        column: 1,
    };
    if text.len() > LONGEST {
        return Err(cursor.trouble(
            format!(
                "the text has {} bytes; a configuration has at most {LONGEST}",
                text.len()
            ),
            "check that this is the right file",
        ));
    }
    cursor.space()?;
    let only_the_object = cursor.peek() == Some('{');
    if !only_the_object {
        cursor.assigned()?;
    }
    let node = cursor.value(0)?;
    cursor.space()?;
    if only_the_object && !matches!(cursor.peek(), None | Some(';')) {
        return Err(cursor.trouble(
            "the object ended, and there is more",
            "remove what follows it",
        ));
    }
    Ok(node)
}

struct Cursor {
    text: Vec<char>,
    at: usize,
    line: usize,
    column: usize,
}

impl Cursor {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn ahead(&self, by: usize) -> Option<char> {
        self.text.get(self.at + by).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        if c == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(c)
    }

    const fn place(&self) -> Place {
        Place {
            line: self.line,
            column: self.column,
            width: 1,
        }
    }

    fn trouble(&self, message: impl Into<String>, fix: impl Into<String>) -> Trouble {
        Trouble::at("", self.place(), message, fix)
    }

    /// From here to there, if that is on one line.
    fn since(&self, start: Place) -> Place {
        Place {
            width: if self.line == start.line {
                (self.column - start.column).max(1)
            } else {
                1
            },
            ..start
        }
    }

    /// Passes over white space and comments.
    fn space(&mut self) -> Result<(), Trouble> {
        loop {
            match (self.peek(), self.ahead(1)) {
                (Some(c), _) if c.is_whitespace() || c == '\u{feff}' => {
                    self.bump();
                }
                (Some('/'), Some('/')) => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.bump();
                    }
                }
                (Some('/'), Some('*')) => {
                    let start = self.trouble("this comment has no end", "close it with */");
                    self.bump();
                    self.bump();
                    while (self.peek(), self.ahead(1)) != (Some('*'), Some('/')) {
                        if self.bump().is_none() {
                            return Err(start);
                        }
                    }
                    self.bump();
                    self.bump();
                }
                _ => return Ok(()),
            }
        }
    }

    /// Goes to the value behind `DEFAULT_ROLLBACK_CONFIG: Type =`.
    fn assigned(&mut self) -> Result<(), Trouble> {
        let wanted: Vec<char> = NAME.chars().collect();
        let start = self.trouble(
            format!("`{NAME}` is not assigned anywhere here"),
            format!("give the file with `export const {NAME} = {{ … }}`, or the object alone"),
        );
        while self.peek().is_some() {
            self.space()?;
            match self.peek() {
                Some('\'' | '"' | '`') => {
                    self.quoted()?;
                }
                Some(c) if is_name(c) => {
                    let begin = self.at;
                    while self.peek().is_some_and(is_name) {
                        self.bump();
                    }
                    if self.text.get(begin..self.at) == Some(&wanted) && self.equals()? {
                        return Ok(());
                    }
                }
                _ => {
                    self.bump();
                }
            }
        }
        Err(start)
    }

    /// Behind the name: a type perhaps, and `=`.
    fn equals(&mut self) -> Result<bool, Trouble> {
        loop {
            self.space()?;
            match self.peek() {
                Some('=') if self.ahead(1) != Some('=') && self.ahead(1) != Some('>') => {
                    self.bump();
                    self.space()?;
                    return Ok(true);
                }
                Some(c) if is_name(c) || matches!(c, ':' | '<' | '>' | '.' | '[' | ']') => {
                    self.bump();
                }
                _ => return Ok(false),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Trouble> {
        if depth > DEEPEST {
            return Err(self.trouble("this is nested too deeply", "a configuration is flat"));
        }
        let start = self.place();
        let value = match self.peek() {
            Some('{') => self.object(depth)?,
            Some('[') => self.list(depth)?,
            Some('\'' | '"' | '`') => Value::Text(self.quoted()?),
            Some(c) if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => self.number()?,
            Some(c) if is_name(c) => self.word()?,
            _ => {
                return Err(self.trouble(
                    "a value is missing here",
                    "write a number, a text in quotes, true, false, [ ] or { }",
                ));
            }
        };
        Ok(Node {
            place: self.since(start),
            value,
        })
    }

    fn object(&mut self, depth: usize) -> Result<Value, Trouble> {
        self.bump();
        let mut entries: Vec<Entry> = Vec::new();
        loop {
            self.space()?;
            let start = self.place();
            let key = match self.peek() {
                Some('}') => {
                    self.bump();
                    return Ok(Value::Map(entries));
                }
                Some('\'' | '"') => self.quoted()?,
                Some(c) if is_name(c) => self.name(),
                _ => {
                    return Err(self.trouble("a key or `}` is missing here", "write `key: value,`"));
                }
            };
            let place = self.since(start);
            if entries.iter().any(|entry| entry.key == key) {
                return Err(Trouble::at(
                    key.clone(),
                    place,
                    format!("`{key}` stands here for the second time"),
                    "keep one of them",
                ));
            }
            self.space()?;
            if self.peek() != Some(':') {
                return Err(self.trouble(
                    format!("`:` is missing behind `{key}`"),
                    "write `key: value,`",
                ));
            }
            self.bump();
            self.space()?;
            let node = self.value(depth + 1)?;
            entries.push(Entry { key, place, node });
            self.comma('}')?;
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, Trouble> {
        self.bump();
        let mut items = Vec::new();
        loop {
            self.space()?;
            if self.peek() == Some(']') {
                self.bump();
                return Ok(Value::List(items));
            }
            items.push(self.value(depth + 1)?);
            self.comma(']')?;
        }
    }

    fn comma(&mut self, end: char) -> Result<(), Trouble> {
        self.space()?;
        match self.peek() {
            Some(',') => {
                self.bump();
                Ok(())
            }
            Some(c) if c == end => Ok(()),
            _ => Err(self.trouble(
                format!("`,` or `{end}` is missing here"),
                "separate values with commas",
            )),
        }
    }

    fn quoted(&mut self) -> Result<String, Trouble> {
        let open = self.trouble("this text has no end", "close its quote");
        let quote = self.bump();
        let mut text = String::new();
        loop {
            match self.bump() {
                None => return Err(open),
                Some('\n') if quote != Some('`') => return Err(open),
                Some(c) if Some(c) == quote => return Ok(text),
                Some('\\') => match self.bump() {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some(c @ ('\\' | '\'' | '"' | '`' | '/' | '$')) => text.push(c),
                    _ => {
                        return Err(self.trouble(
                            "unknown escape in a text",
                            r"write the character itself; the escapes are \n \t \r \\ and quotes",
                        ));
                    }
                },
                Some('$') if quote == Some('`') && self.peek() == Some('{') => {
                    return Err(self.trouble(
                        "this text is computed when the program runs",
                        "write its value",
                    ));
                }
                Some(c) => text.push(c),
            }
        }
    }

    fn number(&mut self) -> Result<Value, Trouble> {
        let start = self.place();
        let begin = self.at;
        while self
            .peek()
            .is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.' | '_'))
        {
            self.bump();
        }
        let text: String = self
            .text
            .get(begin..self.at)
            .unwrap_or_default()
            .iter()
            .collect();
        let digits = text.replace('_', "");
        match digits.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Number(number)),
            _ => Err(Trouble::at(
                "",
                self.since(start),
                format!("`{text}` is no number"),
                "write digits, such as 300 or 0.05",
            )),
        }
    }

    fn word(&mut self) -> Result<Value, Trouble> {
        let start = self.place();
        let word = self.name();
        match word.as_str() {
            "true" => Ok(Value::Flag(true)),
            "false" => Ok(Value::Flag(false)),
            "null" | "undefined" => Ok(Value::Nothing),
            _ => Err(Trouble::at(
                "",
                self.since(start),
                format!("`{word}` is computed when the program runs"),
                "write its value",
            )),
        }
    }

    fn name(&mut self) -> String {
        let begin = self.at;
        while self.peek().is_some_and(is_name) {
            self.bump();
        }
        self.text
            .get(begin..self.at)
            .unwrap_or_default()
            .iter()
            .collect()
    }
}

const fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Map(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|entry| {
                        format!("{}@{}: {}", entry.key, entry.place.line, shown(&entry.node))
                    })
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
            Value::List(items) => format!("{:?}", items.iter().map(shown).collect::<Vec<_>>()),
            Value::Text(text) => format!("'{text}'"),
            Value::Number(number) => number.to_string(),
            Value::Flag(flag) => flag.to_string(),
            Value::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn type_script_and_json() {
        for (text, expected) in [
            ("{}", "{}"),
            (
                r#"{"a": 1, "b": [true, null]}"#,
                r#"{a@1: 1, b@1: ["true", "nothing"]}"#,
            ),
            (
                "{ a: 1_000, // one\n  'b': `x`, /* two */ c: \"it's\",\n};",
                "{a@1: 1000, b@2: 'x', c@2: 'it's'}",
            ),
            (
                "import { a } from 'DEFAULT_ROLLBACK_CONFIG';\nexport interface RollbackConfig { enabled: boolean; }\n\
                 export const DEFAULT_ROLLBACK_CONFIG: RollbackConfig = {\n  enabled: false,\n};\nclass X {}",
                "{enabled@4: false}",
            ),
        ] {
            assert_eq!(shown(&parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        for (text, line, column, words) in [
            ("", 1, 1, "is not assigned anywhere"),
            ("const A = 1;", 1, 1, "is not assigned anywhere"),
            ("{ a: 1", 1, 7, "`,` or `}` is missing"),
            ("{ a 1 }", 1, 5, "`:` is missing behind `a`"),
            ("{\n  a: 60 * 1000 }", 2, 9, "`,` or `}` is missing"),
            ("{ a: LIMIT }", 1, 6, "computed when the program runs"),
            ("{ a: `${x}` }", 1, 8, "computed when the program runs"),
            ("{ a: 'x }", 1, 6, "no end"),
            ("{ a: 1, a: 2 }", 1, 9, "for the second time"),
            ("{ a: 0x }", 1, 6, "no number"),
            ("{ /* }", 1, 3, "no end"),
            ("{} {}", 1, 4, "there is more"),
        ] {
            let error = parse(text).unwrap_err().in_text(text);
            assert_eq!(
                (error.line(), error.column()),
                (Some(line), Some(column)),
                "{text}: {error}"
            );
            assert!(error.message().contains(words), "{text}: {error}");
        }
        let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
        assert!(parse(&format!("{{a: {deep}}}")).is_err());
    }
}
