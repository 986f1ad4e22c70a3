//! What a query says: its commands and expressions.

use anyhow::Result;
use regex_lite::Regex;
use winnow::ascii::{Caseless, digit1, multispace1, till_line_ending};
use winnow::combinator::{
    alt, cut_err, delimited, eof, not, opt, preceded, repeat, separated, separated_foldl1,
    separated_pair, terminated,
};
use winnow::error::{ContextError, ErrMode};
use winnow::prelude::*;
use winnow::stream::{AsChar, LocatingSlice};
use winnow::token::{any, none_of, one_of, take_till, take_while};

use super::functions::Function;
use crate::session::BadInput;

/// A query that can be run.
#[derive(Debug)]
pub struct Query {
    pub commands: Vec<Command>,
}

/// One of the steps between two pipes.
#[derive(Debug)]
pub struct Command {
    /// From 1.
    line: usize,
    pub action: Action,
}

#[derive(Debug)]
pub enum Action {
    Fields(Vec<Column>),
    Display(Vec<Column>),
    Filter(Expression),
    Stats {
        columns: Vec<Column>,
        by: Vec<Column>,
    },
    /// With whether the largest is first.
    Sort(Vec<(Column, bool)>),
    Limit(usize),
    Dedup(Vec<Column>),
    Parse {
        from: Expression,
        pattern: Regex,
        /// Of the pattern's groups.
        names: Vec<String>,
    },
    /// There is none of this name.
    Unknown(String),
}

/// The commands that there are.
const COMMANDS: &str = "fields, filter, stats, sort, limit, parse, display, dedup";

/// An expression, and what its value is called: its alias, or else what is written.
#[derive(Debug)]
pub struct Column {
    pub value: Expression,
    pub name: String,
}

#[derive(Debug)]
pub enum Expression {
    Number(f64),
    Text(String),
    Field(String),
    /// `*` of `count(*)`.
    All,
    Call(Function, Vec<Expression>),
    /// There is no function of this name.
    Unknown(String),
    Not(Box<Expression>),
    Two(Box<Expression>, Operator, Box<Expression>),
    Like(Box<Expression>, Regex),
    In(Box<Expression>, Vec<Expression>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Plus,
    Minus,
    Times,
    Over,
    Rest,
    Power,
}

/// A query of a file: what introduces it, and itself.
#[derive(Debug)]
pub struct Named {
    pub name: String,
    pub query: Query,
}

/// A line that introduces a query. To Logs Insights it is a comment like any other.
const HEADING: &str = "##";

/// Reads a file of queries, each below a line such as `## slow: which function is slow`. A text without such a line is one
/// query without a name.
///
/// # Errors
/// [`BadInput`] with the line of what cannot be understood.
pub fn parse_all(text: &str) -> Result<Vec<Named>> {
    let mut parts: Vec<(String, usize, String)> = vec![(String::new(), 1, String::new())];
    for (index, line) in text.lines().enumerate() {
        if let Some(heading) = line.strip_prefix(HEADING) {
            let name = heading.split(':').next().unwrap_or_default().trim();
            parts.push((name.to_owned(), index + 1, String::new()));
        }
        if let Some((_, _, part)) = parts.last_mut() {
            *part += line;
            *part += "\n";
        }
    }
    let is_comment = |part: &str| {
        let mut lines = part.lines().map(str::trim);
        lines.all(|it| it.is_empty() || it.starts_with('#'))
    };
    let several = parts.len() > 1;
    let parts = parts.into_iter();
    let parts = parts.filter(|(name, _, part)| !(several && name.is_empty() && is_comment(part)));
    parts
        .map(|(name, line, part)| {
            let query = parse(&part, line).map_err(|why| match &*name {
                "" => BadInput(why),
                name => BadInput(format!("the query {name:?}, {why}")),
            });
            Ok(Named {
                query: query?,
                name,
            })
        })
        .collect()
}

/// Reads one query, of which the first line has this number.
fn parse(text: &str, first: usize) -> std::result::Result<Query, String> {
    let line = |at: usize| first + text[..at].matches('\n').count();
    let parsed = query.parse(LocatingSlice::new(text));
    let mut commands = parsed.map_err(|error| {
        let at = error.offset();
        let rest = text[at..].trim_start();
        let line = line((text.len() - rest.len()).min(text.trim_end().len()));
        let rest = rest.lines().next().unwrap_or_default();
        match rest {
            "" => format!("line {line}: it ends where something more has to follow"),
            rest => format!("line {line}: cannot be understood from `{rest}`"),
        }
    })?;
    for command in &mut commands {
        command.line = line(command.line);
        command
            .check()
            .map_err(|why| format!("line {}: {why}", command.line))?;
    }
    Ok(Query { commands })
}

type Input<'a> = LocatingSlice<&'a str>;
type Refused = ErrMode<ContextError>;

fn query(input: &mut Input<'_>) -> ModalResult<Vec<Command>> {
    let commands = separated(1.., command, sign("|"));
    delimited((space, opt(sign("|"))), commands, (space, eof)).parse_next(input)
}

/// Its `line` is the place of its first letter until all is read.
fn command(input: &mut Input<'_>) -> ModalResult<Command> {
    let (name, span) = terminated(bare_name, space).with_span().parse_next(input)?;
    let action = match &*name.to_lowercase() {
        "fields" => cut_err(columns).map(Action::Fields).parse_next(input)?,
        "display" => cut_err(columns).map(Action::Display).parse_next(input)?,
        "dedup" => cut_err(columns).map(Action::Dedup).parse_next(input)?,
        "filter" => cut_err(expression).map(Action::Filter).parse_next(input)?,
        "sort" => cut_err(sort).map(Action::Sort).parse_next(input)?,
        "limit" => {
            let number = terminated(digit1.parse_to(), space);
            cut_err(number).map(Action::Limit).parse_next(input)?
        }
        "stats" => {
            let by = preceded(word("by"), cut_err(columns));
            let (columns, by) = (cut_err(columns), opt(by)).parse_next(input)?;
            let by = by.unwrap_or_default();
            Action::Stats { columns, by }
        }
        "parse" => cut_err(parsed).parse_next(input)?,
        _ => take_till(0.., '|')
            .map(|_: &str| Action::Unknown(name.clone()))
            .parse_next(input)?,
    };
    let line = span.start;
    Ok(Command { line, action })
}

fn columns(input: &mut Input<'_>) -> ModalResult<Vec<Column>> {
    separated(1.., column, sign(",")).parse_next(input)
}

fn column(input: &mut Input<'_>) -> ModalResult<Column> {
    let (value, text) = expression.with_taken().parse_next(input)?;
    let alias = opt(preceded(word("as"), cut_err(field))).parse_next(input)?;
    let name = alias.unwrap_or_else(|| match &value {
        Expression::Field(name) => name.clone(),
        _ => text.split_whitespace().collect::<Vec<_>>().join(" "),
    });
    Ok(Column { value, name })
}

fn sort(input: &mut Input<'_>) -> ModalResult<Vec<(Column, bool)>> {
    let order = alt((word("desc").value(true), word("asc").value(false)));
    let key = (column, opt(order)).map(|(column, order)| (column, order.unwrap_or(false)));
    separated(1.., key, sign(",")).parse_next(input)
}

/// `parse @message "took * ms" as took`, or a regular expression with named groups.
fn parsed(input: &mut Input<'_>) -> ModalResult<Action> {
    let from = opt(not_text).parse_next(input)?;
    let from = from.unwrap_or_else(|| Expression::Field("@message".to_owned()));
    let by_glob = separated_pair(
        text,
        word("as"),
        separated(1.., terminated(bare_name, space), sign(",")),
    );
    let by_glob = by_glob.verify_map(|(glob, names): (String, Vec<String>)| {
        let pieces = glob.matches('*').count();
        (pieces == names.len()).then(|| Some((from_glob(&glob)?, names)))?
    });
    let by_regex = regex.map(|pattern| {
        let names = pattern.capture_names().flatten().map(str::to_owned);
        let names = names.collect();
        (pattern, names)
    });
    let (pattern, names) = alt((by_regex, by_glob)).parse_next(input)?;
    Ok(Action::Parse {
        from,
        pattern,
        names,
    })
}

fn not_text(input: &mut Input<'_>) -> ModalResult<Expression> {
    preceded(not(one_of(['"', '\'', '/'])), primary).parse_next(input)
}

/// Each `*` is the shortest that fits, and the last one at the end all that is left.
fn from_glob(glob: &str) -> Option<Regex> {
    let pieces: Vec<_> = glob.split('*').map(regex_lite::escape).collect();
    let mut pattern = pieces.join("(.*?)");
    if glob.ends_with('*') {
        pattern.truncate(pattern.len() - "(.*?)".len());
        pattern += "(.*)";
    }
    Regex::new(&format!("(?s){pattern}")).ok()
}

// Expressions, from the weakest operator to the strongest.

fn expression(input: &mut Input<'_>) -> ModalResult<Expression> {
    separated_foldl1(conjunction, word("or"), |a, _, b| {
        Expression::two(a, Operator::Or, b)
    })
    .parse_next(input)
}

fn conjunction(input: &mut Input<'_>) -> ModalResult<Expression> {
    separated_foldl1(negation, word("and"), |a, _, b| {
        Expression::two(a, Operator::And, b)
    })
    .parse_next(input)
}

fn negation(input: &mut Input<'_>) -> ModalResult<Expression> {
    let negated = preceded(word("not"), cut_err(negation));
    let negated = negated.map(|it| Expression::Not(Box::new(it)));
    alt((negated, comparison)).parse_next(input)
}

fn comparison(input: &mut Input<'_>) -> ModalResult<Expression> {
    let left = sum.parse_next(input)?;
    let compares = alt((
        sign("=~").value(None),
        sign("!=").value(Some(Operator::NotEqual)),
        sign("<=").value(Some(Operator::AtMost)),
        sign(">=").value(Some(Operator::AtLeast)),
        sign("<").value(Some(Operator::Less)),
        sign(">").value(Some(Operator::Greater)),
        sign("=").value(Some(Operator::Equal)),
    ));
    if let Some(operator) = opt(compares).parse_next(input)? {
        return Ok(match operator {
            Some(operator) => Expression::two(left, operator, cut_err(sum).parse_next(input)?),
            None => Expression::Like(Box::new(left), cut_err(regex).parse_next(input)?),
        });
    }
    let kind = alt((word("like").value(true), word("in").value(false)));
    let Some((negated, is_like)) = opt((opt(word("not")), kind)).parse_next(input)? else {
        return Ok(left);
    };
    let left = Box::new(left);
    let found = if is_like {
        let part = text.verify_map(|it| Regex::new(&regex_lite::escape(&it)).ok());
        let pattern = cut_err(alt((regex, part))).parse_next(input)?;
        Expression::Like(left, pattern)
    } else {
        let list = separated(1.., sum, sign(","));
        let list = delimited(sign("["), list, sign("]"));
        Expression::In(left, cut_err(list).parse_next(input)?)
    };
    Ok(match negated {
        Some(_) => Expression::Not(Box::new(found)),
        None => found,
    })
}

fn sum(input: &mut Input<'_>) -> ModalResult<Expression> {
    let operator = alt((
        sign("+").value(Operator::Plus),
        sign("-").value(Operator::Minus),
    ));
    separated_foldl1(product, operator, Expression::two).parse_next(input)
}

fn product(input: &mut Input<'_>) -> ModalResult<Expression> {
    let operator = alt((
        sign("*").value(Operator::Times),
        sign("/").value(Operator::Over),
        sign("%").value(Operator::Rest),
    ));
    separated_foldl1(power, operator, Expression::two).parse_next(input)
}

fn power(input: &mut Input<'_>) -> ModalResult<Expression> {
    separated_foldl1(signed, sign("^").value(Operator::Power), Expression::two).parse_next(input)
}

fn signed(input: &mut Input<'_>) -> ModalResult<Expression> {
    let negative = preceded(sign("-"), signed);
    let negative = negative.map(|it| Expression::two(Expression::Number(0.0), Operator::Minus, it));
    alt((negative, primary)).parse_next(input)
}

fn primary(input: &mut Input<'_>) -> ModalResult<Expression> {
    alt((
        number,
        text.map(Expression::Text),
        delimited(sign("("), expression, sign(")")),
        call,
        field.map(|name| match &*name {
            "true" => Expression::Number(1.0),
            "false" => Expression::Number(0.0),
            _ => Expression::Field(name),
        }),
    ))
    .parse_next(input)
}

fn call(input: &mut Input<'_>) -> ModalResult<Expression> {
    let name = terminated(bare_name, (space, sign("("))).parse_next(input)?;
    let all = sign("*").map(|_| vec![Expression::All]);
    let arguments = alt((all, separated(0.., expression, sign(","))));
    let arguments = cut_err(terminated(arguments, sign(")"))).parse_next(input)?;
    Ok(match Function::find(&name) {
        Some(function) => Expression::Call(function, arguments),
        None => Expression::Unknown(name),
    })
}

/// Units of a period, in milliseconds.
const UNITS: [(&[&str], f64); 5] = [
    (&["ms", "msec"], 1.0),
    (&["s", "sec", "second", "seconds"], 1e3),
    (&["m", "min", "minute", "minutes"], 60e3),
    (&["h", "hr", "hour", "hours"], 3600e3),
    (&["d", "day", "days"], 86400e3),
];

/// A number, or a period such as `5m` in milliseconds.
fn number(input: &mut Input<'_>) -> ModalResult<Expression> {
    let number = (digit1, opt(('.', digit1))).take().parse_to::<f64>();
    let unit = take_while(0.., AsChar::is_alpha).verify_map(|unit: &str| {
        let of = UNITS.iter().find(|(names, _)| names.contains(&unit));
        of.map(|(_, ms)| *ms).or(unit.is_empty().then_some(1.0))
    });
    terminated((number, unit), space)
        .map(|(number, unit)| Expression::Number(number * unit))
        .parse_next(input)
}

fn text(input: &mut Input<'_>) -> ModalResult<String> {
    let quoted = |quote: char| {
        let character = alt((preceded('\\', any), none_of([quote, '\n'])));
        delimited(quote, repeat(0.., character), quote)
    };
    terminated(alt((quoted('"'), quoted('\''))), space).parse_next(input)
}

/// `/…/`.
fn regex(input: &mut Input<'_>) -> ModalResult<Regex> {
    let character = alt((('\\', any).take(), none_of(['/', '\n']).take()));
    let inner = repeat::<_, _, String, _, _>(0.., character);
    terminated(delimited('/', inner, '/'), space)
        .verify_map(|inner| Regex::new(&inner.replace("\\/", "/")).ok())
        .parse_next(input)
}

/// A field, such as `took_ms`, `@duration`, `user.id` or `` `user-agent` ``.
fn field(input: &mut Input<'_>) -> ModalResult<String> {
    let quoted = delimited('`', take_till(1.., '`'), '`').map(str::to_owned);
    terminated(alt((quoted, bare_name)), space).parse_next(input)
}

/// Words that are no names.
const KEYWORDS: [&str; 9] = ["and", "or", "not", "like", "in", "as", "by", "asc", "desc"];

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '@')
}

fn bare_name(input: &mut Input<'_>) -> ModalResult<String> {
    let first = one_of(|it: char| it.is_alphabetic() || matches!(it, '_' | '@'));
    let name = (first, take_while(0.., is_of_name)).take();
    name.verify(|name: &str| !KEYWORDS.contains(&&*name.to_lowercase()))
        .map(str::to_owned)
        .parse_next(input)
}

/// A keyword, and the space behind it.
fn word<'a>(name: &'static str) -> impl Parser<Input<'a>, (), Refused> {
    (Caseless(name), not(one_of(is_of_name)), space).void()
}

/// Punctuation, and the space behind it.
fn sign<'a>(text: &'static str) -> impl Parser<Input<'a>, (), Refused> {
    (text, space).void()
}

/// White space and comments.
fn space(input: &mut Input<'_>) -> ModalResult<()> {
    let comment = ('#', till_line_ending).void();
    repeat(0.., alt((multispace1.void(), comment))).parse_next(input)
}

impl Expression {
    fn two(a: Self, operator: Operator, b: Self) -> Self {
        Self::Two(Box::new(a), operator, Box::new(b))
    }

    /// The expressions that it is made of.
    fn parts(&self) -> Vec<&Self> {
        match self {
            Self::Call(_, all) => all.iter().collect(),
            Self::Not(one) | Self::Like(one, _) => vec![one],
            Self::Two(a, _, b) => vec![a, b],
            Self::In(one, list) => std::iter::once(&**one).chain(list).collect(),
            _ => Vec::new(),
        }
    }

    /// What the expression and its parts have in common with these names: one that it picks out of the others by a text or
    /// a pattern of its own.
    fn picks<'a>(&self, names: &'a [String]) -> Option<&'a String> {
        let own = |is_named: &dyn Fn(&str) -> bool| {
            let named = names.iter().filter(|it| is_named(&it.to_lowercase()));
            let named: Vec<_> = named.collect();
            named.first().copied().filter(|_| named.len() < names.len())
        };
        let own = match self {
            Self::Text(text) if !text.is_empty() => {
                let text = text.to_lowercase();
                own(&|name| name.contains(&text) || text.contains(name))
            }
            Self::Like(_, pattern) => {
                let written = pattern.as_str().to_lowercase();
                let pattern = Regex::new(&format!("(?i){pattern}")).ok()?;
                own(&|name| pattern.is_match(name) || written.contains(name))
            }
            _ => None,
        };
        own.or_else(|| self.parts().iter().find_map(|it| it.picks(names)))
    }
}

impl Query {
    /// A name that the query picks out of a list by what is written in it.
    pub fn picks<'a>(&self, names: &'a [String]) -> Option<&'a String> {
        let mut all = self.commands.iter().flat_map(Command::expressions);
        all.find_map(|it| it.picks(names))
    }
}

impl Command {
    fn expressions(&self) -> Vec<&Expression> {
        match &self.action {
            Action::Fields(columns) | Action::Display(columns) | Action::Dedup(columns) => {
                columns.iter().map(|it| &it.value).collect()
            }
            Action::Filter(one) | Action::Parse { from: one, .. } => vec![one],
            Action::Stats { columns, by } => columns.iter().chain(by).map(|it| &it.value).collect(),
            Action::Sort(keys) => keys.iter().map(|(key, _)| &key.value).collect(),
            Action::Limit(_) | Action::Unknown(_) => Vec::new(),
        }
    }

    /// Whether everything in it exists and stands where it may.
    fn check(&self) -> std::result::Result<(), String> {
        if let Action::Unknown(name) = &self.action {
            return Err(format!(
                "there is no command `{name}` here; there are: {COMMANDS}"
            ));
        }
        for expression in self.expressions() {
            known(expression)?;
        }
        match &self.action {
            Action::Stats { columns, by } => {
                for column in columns {
                    aggregates(&column.value, by)?;
                }
                by.iter().try_for_each(|it| plain(&it.value))
            }
            // The name of a column that stats made is written as it was.
            Action::Sort(_) => Ok(()),
            _ => self.expressions().into_iter().try_for_each(plain),
        }
    }
}

/// Whether all functions exist, with as many arguments.
fn known(expression: &Expression) -> std::result::Result<(), String> {
    match expression {
        Expression::Unknown(name) => {
            let all = Function::all();
            return Err(format!(
                "there is no function `{name}` here; there are: {all}"
            ));
        }
        Expression::Call(function, arguments) => function.takes(arguments.len())?,
        _ => {}
    }
    expression.parts().into_iter().try_for_each(known)
}

/// Whether no function of `stats` stands in it.
fn plain(expression: &Expression) -> std::result::Result<(), String> {
    match expression {
        Expression::Call(function, _) if function.is_of_stats() => {
            Err(format!("`{function}` is a function of stats alone"))
        }
        _ => expression.parts().into_iter().try_for_each(plain),
    }
}

/// Whether every field stands in a function of `stats`, or in `by`.
fn aggregates(expression: &Expression, by: &[Column]) -> std::result::Result<(), String> {
    match expression {
        Expression::Call(function, arguments) if function.is_of_stats() => {
            arguments.iter().try_for_each(plain)
        }
        Expression::Field(name) if !by.iter().any(|it| it.name == *name) => Err(format!(
            "`{name}` has many values in stats: which is wanted, such as max({name})? Or group by it"
        )),
        _ => {
            let mut parts = expression.parts().into_iter();
            parts.try_for_each(|it| aggregates(it, by))
        }
    }
}
