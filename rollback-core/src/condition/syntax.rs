//! The syntax tree, and how it is written back.

use std::fmt;

use super::error::Span;
use super::unit::{Suffix, plain};

#[derive(Clone, Debug)]
pub(super) struct Expr {
    pub(super) kind: ExprKind,
    pub(super) span: Span,
    /// How many operators are nested here, this one included.
    pub(super) depth: usize,
}

#[derive(Clone, Debug)]
pub(super) enum ExprKind {
    Number {
        value: f64,
        suffix: Option<&'static Suffix>,
    },
    Text(String),
    Name(String),
    /// `function(name)`
    Call {
        function: String,
        function_span: Span,
        name: String,
        name_span: Span,
    },
    Unary(UnaryOp, Box<Expr>),
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnaryOp {
    Not,
    Negate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BinaryOp {
    And,
    Or,
    Compare(CompareOp),
    Arithmetic(ArithmeticOp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompareOp {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ArithmeticOp {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// The binding power of a unary operator, above every binary one.
pub(super) const UNARY_POWER: u8 = 6;

impl BinaryOp {
    /// A higher power binds tighter; all operators group to the left.
    pub(super) const fn power(self) -> u8 {
        match self {
            Self::Or => 1,
            Self::And => 2,
            Self::Compare(_) => 3,
            Self::Arithmetic(ArithmeticOp::Add | ArithmeticOp::Subtract) => 4,
            Self::Arithmetic(ArithmeticOp::Multiply | ArithmeticOp::Divide) => 5,
        }
    }

    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Or => "||",
            Self::And => "&&",
            Self::Compare(op) => op.sign(),
            Self::Arithmetic(ArithmeticOp::Add) => "+",
            Self::Arithmetic(ArithmeticOp::Subtract) => "-",
            Self::Arithmetic(ArithmeticOp::Multiply) => "*",
            Self::Arithmetic(ArithmeticOp::Divide) => "/",
        }
    }
}

impl CompareOp {
    pub(super) const fn sign(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    /// The comparison that is true exactly when this one is false.
    pub(super) const fn negated(self) -> Self {
        match self {
            Self::Equal => Self::NotEqual,
            Self::NotEqual => Self::Equal,
            Self::Less => Self::GreaterOrEqual,
            Self::LessOrEqual => Self::Greater,
            Self::Greater => Self::LessOrEqual,
            Self::GreaterOrEqual => Self::Less,
        }
    }

    /// The comparison that says the same with its sides exchanged.
    pub(super) const fn mirrored(self) -> Self {
        match self {
            Self::Equal => Self::Equal,
            Self::NotEqual => Self::NotEqual,
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
        }
    }

    #[expect(clippy::float_cmp, reason = "`==` of the language means exactly equal")]
    pub(super) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

impl Expr {
    fn power(&self) -> u8 {
        match &self.kind {
            ExprKind::Binary(op, ..) => op.power(),
            ExprKind::Unary(..) => UNARY_POWER,
            _ => UNARY_POWER + 1,
        }
    }

    fn write_within(&self, f: &mut fmt::Formatter<'_>, power: u8) -> fmt::Result {
        if self.power() < power {
            write!(f, "({self})")
        } else {
            write!(f, "{self}")
        }
    }
}

/// The canonical source: one space around binary operators, and only the parentheses that are needed.
impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, suffix } => {
                write!(f, "{}{}", plain(*value), suffix.map_or("", |s| s.text))
            }
            ExprKind::Text(text) => write_text(f, text),
            ExprKind::Name(name) => f.write_str(name),
            ExprKind::Call { function, name, .. } => write!(f, "{function}({name})"),
            ExprKind::Unary(op, operand) => {
                f.write_str(match op {
                    UnaryOp::Not => "!",
                    UnaryOp::Negate => "-",
                })?;
                operand.write_within(f, UNARY_POWER)
            }
            ExprKind::Binary(op, left, right) => {
                left.write_within(f, op.power())?;
                write!(f, " {} ", op.sign())?;
                right.write_within(f, op.power() + 1)
            }
        }
    }
}

pub(super) fn write_text(f: &mut impl fmt::Write, text: &str) -> fmt::Result {
    f.write_char('\'')?;
    for c in text.chars() {
        match c {
            '\'' => f.write_str("\\'")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('\'')
}
