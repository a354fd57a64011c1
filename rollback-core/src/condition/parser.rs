//! From tokens to the syntax tree: a Pratt parser with a limit on nesting.

use super::error::{ConditionErrorKind, Problem, Span};
use super::lexer::{Symbol, Token, TokenKind, tokens};
use super::syntax::{ArithmeticOp, BinaryOp, CompareOp, Expr, ExprKind, UNARY_POWER, UnaryOp};

/// How deep operators and parentheses may nest.
pub(super) const DEEPEST: usize = 64;

pub(super) fn parse(source: &str) -> Result<Expr, Problem> {
    let tokens = tokens(source)?;
    let end = Span::new(source.len(), source.len());
    if tokens.is_empty() {
        return Err(Problem::new(
            ConditionErrorKind::Empty,
            end,
            "the condition is empty",
            "write when things are bad, such as `error_rate > 5%`",
        ));
    }
    let mut parser = Parser {
        tokens: &tokens,
        end,
    };
    let expr = parser.expression(0, 0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(token) => Err(unexpected_after(&token)),
    }
}

struct Parser<'t, 'a> {
    tokens: &'t [Token<'a>],
    end: Span,
}

impl<'a> Parser<'_, 'a> {
    fn expression(&mut self, weakest: u8, level: usize) -> Result<Expr, Problem> {
        let mut left = self.operand(level)?;
        while let Some(op) = self.binary_operator() {
            if op.power() <= weakest {
                break;
            }
            self.advance();
            let right = self.expression(op.power(), level + 1)?;
            let span = left.span.to(right.span);
            let depth = 1 + left.depth.max(right.depth);
            left = node(
                ExprKind::Binary(op, Box::new(left), Box::new(right)),
                span,
                depth,
            )?;
        }
        Ok(left)
    }

    fn operand(&mut self, level: usize) -> Result<Expr, Problem> {
        let Some(token) = self.advance() else {
            return Err(Problem::new(
                ConditionErrorKind::Syntax,
                self.end,
                "the condition ends too early",
                "write a metric, a number or a text here",
            ));
        };
        let span = token.span;
        if level > DEEPEST {
            return Err(too_deep(span));
        }
        match token.kind {
            TokenKind::Number { value, suffix } => leaf(ExprKind::Number { value, suffix }, span),
            TokenKind::Text(text) => leaf(ExprKind::Text(text), span),
            TokenKind::Name(name) if self.eat(Symbol::Open).is_some() => self.call(name, span),
            TokenKind::Name(name) => leaf(ExprKind::Name(name.to_owned()), span),
            TokenKind::Symbol(Symbol::Open) => {
                let mut inner = self.expression(0, level + 1)?;
                inner.span = span.to(self.close(span)?);
                Ok(inner)
            }
            TokenKind::Symbol(Symbol::Not) => self.unary(UnaryOp::Not, span, level),
            TokenKind::Symbol(Symbol::Minus) => self.unary(UnaryOp::Negate, span, level),
            TokenKind::Symbol(_) => Err(Problem::new(
                ConditionErrorKind::Syntax,
                span,
                "a value is missing here",
                "write a metric, a number or a text before this",
            )),
        }
    }

    fn unary(&mut self, op: UnaryOp, sign: Span, level: usize) -> Result<Expr, Problem> {
        let operand = self.expression(UNARY_POWER, level + 1)?;
        let span = sign.to(operand.span);
        let depth = 1 + operand.depth;
        node(ExprKind::Unary(op, Box::new(operand)), span, depth)
    }

    fn call(&mut self, function: &str, function_span: Span) -> Result<Expr, Problem> {
        let Some(Token {
            kind: TokenKind::Name(name),
            span: name_span,
        }) = self.advance()
        else {
            return Err(Problem::new(
                ConditionErrorKind::Syntax,
                function_span,
                format!("`{function}(..)` takes the name of one metric"),
                format!("write it like `{function}(error_rate)`"),
            ));
        };
        let close = self.close(function_span)?;
        leaf(
            ExprKind::Call {
                function: function.to_owned(),
                function_span,
                name: name.to_owned(),
                name_span,
            },
            function_span.to(close),
        )
    }

    fn close(&mut self, open: Span) -> Result<Span, Problem> {
        self.eat(Symbol::Close).ok_or_else(|| match self.peek() {
            None => Problem::new(
                ConditionErrorKind::Syntax,
                open,
                "this parenthesis is never closed",
                "add `)`",
            ),
            Some(token) => unexpected_after(&token),
        })
    }

    fn binary_operator(&self) -> Option<BinaryOp> {
        let TokenKind::Symbol(symbol) = self.peek()?.kind else {
            return None;
        };
        Some(match symbol {
            Symbol::And => BinaryOp::And,
            Symbol::Or => BinaryOp::Or,
            Symbol::Equal => BinaryOp::Compare(CompareOp::Equal),
            Symbol::NotEqual => BinaryOp::Compare(CompareOp::NotEqual),
            Symbol::Less => BinaryOp::Compare(CompareOp::Less),
            Symbol::LessOrEqual => BinaryOp::Compare(CompareOp::LessOrEqual),
            Symbol::Greater => BinaryOp::Compare(CompareOp::Greater),
            Symbol::GreaterOrEqual => BinaryOp::Compare(CompareOp::GreaterOrEqual),
            Symbol::Plus => BinaryOp::Arithmetic(ArithmeticOp::Add),
            Symbol::Minus => BinaryOp::Arithmetic(ArithmeticOp::Subtract),
            Symbol::Star => BinaryOp::Arithmetic(ArithmeticOp::Multiply),
            Symbol::Slash => BinaryOp::Arithmetic(ArithmeticOp::Divide),
            Symbol::Open | Symbol::Close | Symbol::Not => return None,
        })
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.first().cloned()
    }

    fn advance(&mut self) -> Option<Token<'a>> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first.clone())
    }

    fn eat(&mut self, symbol: Symbol) -> Option<Span> {
        let token = self.peek()?;
        (token.kind == TokenKind::Symbol(symbol)).then(|| {
            self.advance();
            token.span
        })
    }
}

fn leaf(kind: ExprKind, span: Span) -> Result<Expr, Problem> {
    node(kind, span, 1)
}

fn node(kind: ExprKind, span: Span, depth: usize) -> Result<Expr, Problem> {
    if depth > DEEPEST {
        return Err(too_deep(span));
    }
    Ok(Expr { kind, span, depth })
}

fn too_deep(span: Span) -> Problem {
    Problem::new(
        ConditionErrorKind::TooLarge,
        span,
        format!("more than {DEEPEST} operators or parentheses are nested here"),
        "split the condition into several triggers",
    )
}

fn unexpected_after(token: &Token<'_>) -> Problem {
    let problem = |message: &str, fix: &str| {
        Problem::new(ConditionErrorKind::Syntax, token.span, message, fix)
    };
    match &token.kind {
        TokenKind::Symbol(Symbol::Close) => problem(
            "this parenthesis was never opened",
            "remove it, or open it with `(`",
        ),
        TokenKind::Name(name) if name.eq_ignore_ascii_case("and") => {
            problem("`and` is not an operator", "write `&&`")
        }
        TokenKind::Name(name) if name.eq_ignore_ascii_case("or") => {
            problem("`or` is not an operator", "write `||`")
        }
        _ => problem(
            "an operator is missing before this",
            "join comparisons with `&&` or `||`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ConditionError;
    use super::*;

    fn canonical(source: &str) -> String {
        parse(source).unwrap().to_string()
    }

    #[test]
    fn binding() {
        for (source, expected) in [
            ("a||b&&c", "a || b && c"),
            ("(a||b)&&c", "(a || b) && c"),
            ("((a))", "a"),
            ("a-b-c", "a - b - c"),
            ("a-(b-c)", "a - (b - c)"),
            ("a/(b*c)", "a / (b * c)"),
            ("(a+b)*c<d", "(a + b) * c < d"),
            ("a+(b*c)", "a + b * c"),
            ("!a&&b", "!a && b"),
            ("!(a&&b)", "!(a && b)"),
            ("--a", "--a"),
            ("-(a+b)", "-(a + b)"),
            ("-a*b", "-a * b"),
            ("-(a*b)", "-(a * b)"),
            ("stable ( m ) >2 * \"x\"", "stable(m) > 2 * 'x'"),
            ("a<(b<c)", "a < (b < c)"),
            ("1.50 + 2e3ms", "1.5 + 2000ms"),
            ("'\"' == \"'\"", r#"'"' == '\''"#),
        ] {
            assert_eq!(canonical(source), expected, "{source}");
            assert_eq!(canonical(expected), expected, "{source}");
        }
    }

    #[test]
    fn mistakes_are_placed() {
        for (source, start, end, says) in [
            ("", 0, 0, "empty"),
            ("  ", 2, 2, "empty"),
            ("a >", 3, 3, "ends too early"),
            ("a > > b", 4, 5, "value is missing"),
            ("(a > b", 0, 1, "never closed"),
            ("a > b)", 5, 6, "never opened"),
            ("a b", 2, 3, "operator is missing"),
            ("a > b and c", 6, 9, "write `&&`"),
            ("a > b OR c", 6, 8, "write `||`"),
            ("stable(2)", 0, 6, "name of one metric"),
            ("stable(a b)", 9, 10, "operator is missing"),
        ] {
            let error = ConditionError::new(parse(source).unwrap_err(), source);
            assert_eq!(error.span(), Span::new(start, end), "{source}: {error}");
            assert!(error.to_string().contains(says), "{source}: {error}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        let nested = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
        assert!(parse(&nested(DEEPEST)).is_ok());
        assert!(parse(&nested(DEEPEST + 1)).is_err());
        assert!(parse(&nested(2000)).is_err());
        assert!(parse(&format!("{}a", "!".repeat(2000))).is_err());
        assert!(parse(&format!("a{}", "+a".repeat(DEEPEST - 1))).is_ok());
        assert!(parse(&format!("a{}", "+a".repeat(DEEPEST))).is_err());
    }
}
