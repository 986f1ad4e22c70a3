//! Runs a query over records.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::functions::Function;
use super::logs::Record;
use super::syntax::{Action, Column, Expression, Operator, Query};
use super::value::Value;
use crate::percentile::percentile;

/// Rows of a result, unless the query has a limit of its own.
const MOST_ROWS: usize = 10_000;

/// What a query found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub columns: Vec<String>,
    pub rows: Vec<Record>,
}

/// What an expression is evaluated for.
#[derive(Clone, Copy)]
enum Scope<'a> {
    Record(&'a Record),
    /// A group of `stats`, with the values that it is grouped by.
    Group(&'a [&'a Record], &'a Record),
}

impl Query {
    /// Runs the query.
    pub fn run(&self, records: &[Record]) -> Found {
        let mut rows = records.to_vec();
        let mut shown: Option<Vec<String>> = None;
        let mut in_order = false;
        for command in &self.commands {
            match &command.action {
                Action::Fields(columns) => {
                    compute(columns, &mut rows);
                    let names = columns.iter().map(|it| it.name.clone());
                    shown.get_or_insert_default().extend(names);
                }
                Action::Display(columns) => {
                    compute(columns, &mut rows);
                    shown = Some(columns.iter().map(|it| it.name.clone()).collect());
                }
                Action::Filter(wanted) => {
                    rows.retain(|row| wanted.of(Scope::Record(row)).is_true());
                }
                Action::Stats { columns, by } => {
                    rows = stats(columns, by, &rows);
                    let names = by.iter().chain(columns).map(|it| it.name.clone());
                    (shown, in_order) = (Some(names.collect()), true);
                }
                Action::Sort(keys) => {
                    rows.sort_by(|a, b| {
                        let orders = keys.iter().map(|(key, descending)| {
                            let order = key.of_row(a).order(&key.of_row(b));
                            if *descending { order.reverse() } else { order }
                        });
                        orders.fold(Ordering::Equal, Ordering::then)
                    });
                    in_order = true;
                }
                Action::Limit(most) => rows.truncate(*most),
                Action::Dedup(columns) => {
                    let mut seen = BTreeSet::new();
                    rows.retain(|row| seen.insert(key(columns, row)));
                }
                Action::Parse {
                    from,
                    pattern,
                    names,
                } => {
                    for row in &mut rows {
                        let text = from.of(Scope::Record(row)).to_string();
                        let Some(found) = pattern.captures(&text) else {
                            continue;
                        };
                        // By name, or else by place.
                        for (index, name) in names.iter().enumerate() {
                            let piece = found.name(name).or_else(|| found.get(index + 1));
                            if let Some(piece) = piece {
                                let piece = Value::Text(piece.as_str().to_owned());
                                row.insert(name.clone(), piece);
                            }
                        }
                    }
                }
                // Refused when the query was read.
                Action::Unknown(_) => {}
            }
        }
        if !in_order {
            let time = |row: &Record| row.get("@timestamp").cloned().unwrap_or_default();
            rows.sort_by(|a, b| time(b).order(&time(a)));
        }
        rows.truncate(MOST_ROWS);
        let all = || vec!["@timestamp".to_owned(), "@message".to_owned()];
        Found {
            columns: shown.unwrap_or_else(all),
            rows,
        }
    }
}

/// Adds columns to every row.
fn compute(columns: &[Column], rows: &mut [Record]) {
    for row in rows {
        for column in columns {
            let value = column.value.of(Scope::Record(row));
            if value != Value::None {
                row.insert(column.name.clone(), value);
            }
        }
    }
}

/// What makes two rows the same.
fn key(columns: &[Column], row: &Record) -> Vec<String> {
    let values = columns.iter().map(|it| it.value.of(Scope::Record(row)));
    values.map(|it| it.to_string()).collect()
}

/// One row for each group, in the order in which they come.
fn stats(columns: &[Column], by: &[Column], rows: &[Record]) -> Vec<Record> {
    let mut places = BTreeMap::new();
    let mut groups: Vec<(Record, Vec<&Record>)> = Vec::new();
    for row in rows {
        let place = *places.entry(key(by, row)).or_insert(groups.len());
        if place == groups.len() {
            let own = by.iter().map(|it| {
                let value = it.value.of(Scope::Record(row));
                (it.name.clone(), value)
            });
            groups.push((own.collect(), Vec::new()));
        }
        groups[place].1.push(row);
    }
    let groups = groups.into_iter();
    groups
        .map(|(own, rows)| {
            let mut result = own.clone();
            for column in columns {
                let value = column.value.of(Scope::Group(&rows, &own));
                result.insert(column.name.clone(), value);
            }
            result
        })
        .collect()
}

impl Column {
    /// Of a row, which may have a column that is written so.
    fn of_row(&self, row: &Record) -> Value {
        let own = row.get(&self.name).cloned();
        own.unwrap_or_else(|| self.value.of(Scope::Record(row)))
    }
}

impl Expression {
    fn of(&self, scope: Scope<'_>) -> Value {
        match self {
            Self::Number(number) => Value::Number(*number),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Field(name) => {
                let (Scope::Record(row) | Scope::Group(_, row)) = scope;
                row.get(name).cloned().unwrap_or_default()
            }
            Self::All => Value::Number(1.0),
            // Refused when the query was read.
            Self::Unknown(_) => Value::None,
            Self::Not(one) => match one.of(scope) {
                Value::None => Value::None,
                value => Value::truth(!value.is_true()),
            },
            Self::Like(one, pattern) => match one.of(scope) {
                Value::None => Value::None,
                value => Value::truth(pattern.is_match(&value.to_string())),
            },
            Self::In(one, list) => {
                let value = one.of(scope);
                let same = |it: &Self| value.compare(&it.of(scope)).map(Ordering::is_eq);
                match value {
                    Value::None => Value::None,
                    _ => Value::truth(list.iter().any(|it| same(it) == Some(true))),
                }
            }
            Self::Two(a, operator, b) => operator.of(&a.of(scope), &b.of(scope)),
            Self::Call(function, arguments) => match scope {
                Scope::Group(rows, _) if function.is_of_stats() => {
                    aggregate(*function, arguments, rows)
                }
                scope => {
                    let values: Vec<_> = arguments.iter().map(|it| it.of(scope)).collect();
                    let now = Self::Field("@timestamp".to_owned()).of(scope);
                    scalar(*function, &values, &now)
                }
            },
        }
    }
}

impl Operator {
    /// Without one of its values there is no result, except where the other one decides.
    fn of(self, a: &Value, b: &Value) -> Value {
        let truths = [a, b].map(|it| (*it != Value::None).then(|| it.is_true()));
        let compared =
            |is: fn(Ordering) -> bool| a.compare(b).map_or(Value::None, |it| Value::truth(is(it)));
        let of = |result: fn(f64, f64) -> f64| {
            let result = a.number().zip(b.number()).map(|(a, b)| result(a, b));
            let result = result.filter(|it| it.is_finite());
            result.map_or(Value::None, Value::Number)
        };
        match self {
            Self::Or if truths.contains(&Some(true)) => Value::truth(true),
            Self::And if truths.contains(&Some(false)) => Value::truth(false),
            Self::Or | Self::And if truths.contains(&None) => Value::None,
            Self::Or => Value::truth(false),
            Self::And => Value::truth(true),
            Self::Equal => compared(Ordering::is_eq),
            Self::NotEqual => compared(Ordering::is_ne),
            Self::Less => compared(Ordering::is_lt),
            Self::AtMost => compared(Ordering::is_le),
            Self::Greater => compared(Ordering::is_gt),
            Self::AtLeast => compared(Ordering::is_ge),
            Self::Plus => of(|a, b| a + b),
            Self::Minus => of(|a, b| a - b),
            Self::Times => of(|a, b| a * b),
            Self::Over => of(|a, b| a / b),
            Self::Rest => of(|a, b| a % b),
            Self::Power => of(f64::powf),
        }
    }
}

/// A function of `stats` over the records of a group. Records without a value do not count.
fn aggregate(function: Function, arguments: &[Expression], rows: &[&Record]) -> Value {
    let Some(first) = arguments.first() else {
        return Value::Number(rows.len() as f64); // count()
    };
    let each = rows.iter().map(|row| (*row, first.of(Scope::Record(row))));
    let each: Vec<_> = each.filter(|(_, value)| *value != Value::None).collect();
    let numbers: Vec<f64> = each.iter().filter_map(|(_, it)| it.number()).collect();
    let (count, sum) = (numbers.len() as f64, numbers.iter().sum::<f64>());
    let known = |number: Option<f64>| number.map_or(Value::None, Value::Number);
    let by_value = || each.iter().map(|(_, value)| value);
    let by_time = || {
        let timed = each.iter().map(|(row, value)| {
            let at = row.get("@timestamp").cloned().unwrap_or_default();
            (at, value)
        });
        let mut timed: Vec<_> = timed.collect();
        timed.sort_by(|(a, _), (b, _)| a.order(b));
        timed
    };
    let any = !numbers.is_empty();
    match function {
        Function::Count => Value::Number(each.len() as f64),
        Function::CountDistinct => {
            let values: BTreeSet<_> = by_value().map(Value::to_string).collect();
            Value::Number(values.len() as f64)
        }
        Function::Sum => known(any.then_some(sum)),
        Function::Avg => known(any.then(|| sum / count)),
        Function::StdDev => known(any.then(|| {
            let off = numbers.iter().map(|it| (it - sum / count).powi(2));
            (off.sum::<f64>() / count).sqrt()
        })),
        Function::Min => by_value()
            .min_by(|a, b| a.order(b))
            .cloned()
            .unwrap_or_default(),
        Function::Max => by_value()
            .max_by(|a, b| a.order(b))
            .cloned()
            .unwrap_or_default(),
        Function::Pct => {
            let percent = arguments.get(1).zip(rows.first());
            let percent = percent.and_then(|(it, row)| it.of(Scope::Record(row)).number());
            known(percent.and_then(|percent| percentile(&numbers, percent)))
        }
        Function::Earliest => by_time().first().map_or(Value::None, |it| it.1.clone()),
        Function::Latest => by_time().last().map_or(Value::None, |it| it.1.clone()),
        // Not of stats.
        _ => Value::None,
    }
}

/// A function of one record, whose time is `now`.
fn scalar(function: Function, values: &[Value], now: &Value) -> Value {
    let first = values.first().cloned().unwrap_or_default();
    let number = |of: fn(f64) -> f64| {
        let result = first.number().map(of).filter(|it| it.is_finite());
        result.map_or(Value::None, Value::Number)
    };
    let text = |of: &dyn Fn(&str) -> Value| match &first {
        Value::None => Value::None,
        value => of(&value.to_string()),
    };
    let numbers = || values.iter().filter_map(Value::number);
    let known = |number: Option<f64>| number.map_or(Value::None, Value::Number);
    match function {
        Function::Bin => {
            let period = first.number().filter(|it| *it > 0.0);
            let begin = period.zip(now.number()).map(|(p, at)| (at / p).floor() * p);
            begin.map_or(Value::None, Value::Time)
        }
        Function::Abs => number(f64::abs),
        Function::Ceil => number(f64::ceil),
        Function::Floor => number(f64::floor),
        Function::Sqrt => number(f64::sqrt),
        Function::Greatest => known(numbers().max_by(f64::total_cmp)),
        Function::Least => known(numbers().min_by(f64::total_cmp)),
        Function::StrLen => text(&|it| Value::Number(it.chars().count() as f64)),
        Function::StrContains => {
            let part = values.get(1).map(Value::to_string).unwrap_or_default();
            text(&|it| Value::truth(it.contains(&part)))
        }
        Function::ToLower => text(&|it| Value::Text(it.to_lowercase())),
        Function::ToUpper => text(&|it| Value::Text(it.to_uppercase())),
        Function::Concat => Value::Text(values.iter().map(Value::to_string).collect()),
        Function::Coalesce => {
            let mut known = values.iter().filter(|it| **it != Value::None);
            known.next().cloned().unwrap_or_default()
        }
        Function::IsPresent => Value::truth(first != Value::None),
        Function::IsEmpty => Value::truth(first.to_string().is_empty()),
        // Of stats, and refused elsewhere.
        _ => Value::None,
    }
}
