//! The functions of the query language.

use std::fmt;

use Function::{
    Abs, Avg, Bin, Ceil, Coalesce, Concat, Count, CountDistinct, Earliest, Floor, Greatest,
    IsEmpty, IsPresent, Latest, Least, Max, Min, Pct, Sqrt, StdDev, StrContains, StrLen, Sum,
    ToLower, ToUpper,
};

/// A function that this interpreter knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    // Of `stats`.
    Count,
    CountDistinct,
    Sum,
    Avg,
    Min,
    Max,
    Pct,
    StdDev,
    Earliest,
    Latest,
    // Of one record.
    Bin,
    Abs,
    Ceil,
    Floor,
    Sqrt,
    Greatest,
    Least,
    StrLen,
    StrContains,
    ToLower,
    ToUpper,
    Concat,
    Coalesce,
    IsPresent,
    IsEmpty,
}

const MANY: usize = usize::MAX;

/// Each with its name, and how many arguments it takes.
const FUNCTIONS: [(Function, &str, usize, usize); 25] = [
    (Count, "count", 0, 1),
    (CountDistinct, "count_distinct", 1, 1),
    (Sum, "sum", 1, 1),
    (Avg, "avg", 1, 1),
    (Min, "min", 1, 1),
    (Max, "max", 1, 1),
    (Pct, "pct", 2, 2),
    (StdDev, "stddev", 1, 1),
    (Earliest, "earliest", 1, 1),
    (Latest, "latest", 1, 1),
    (Bin, "bin", 1, 1),
    (Abs, "abs", 1, 1),
    (Ceil, "ceil", 1, 1),
    (Floor, "floor", 1, 1),
    (Sqrt, "sqrt", 1, 1),
    (Greatest, "greatest", 1, MANY),
    (Least, "least", 1, MANY),
    (StrLen, "strlen", 1, 1),
    (StrContains, "strcontains", 2, 2),
    (ToLower, "tolower", 1, 1),
    (ToUpper, "toupper", 1, 1),
    (Concat, "concat", 1, MANY),
    (Coalesce, "coalesce", 1, MANY),
    (IsPresent, "ispresent", 1, 1),
    (IsEmpty, "isempty", 1, 1),
];

impl Function {
    /// By its name, in whatever capitals.
    pub fn find(name: &str) -> Option<Self> {
        let mut all = FUNCTIONS.iter();
        let found = all.find(|(_, own, ..)| own.eq_ignore_ascii_case(name));
        found.map(|(function, ..)| *function)
    }

    /// All names.
    pub fn all() -> String {
        FUNCTIONS.map(|(_, name, ..)| name).join(", ")
    }

    pub fn is_of_stats(self) -> bool {
        matches!(
            self,
            Count | CountDistinct | Sum | Avg | Min | Max | Pct | StdDev | Earliest | Latest
        )
    }

    /// Whether it takes so many arguments.
    pub fn takes(self, count: usize) -> Result<(), String> {
        let (_, name, least, most) = self.entry();
        if (*least..=*most).contains(&count) {
            return Ok(());
        }
        let wanted = match (*least, *most) {
            (least, MANY) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} to {most}"),
        };
        Err(format!(
            "`{name}` takes {wanted} in its parentheses, and here it has {count}"
        ))
    }

    fn entry(self) -> &'static (Self, &'static str, usize, usize) {
        let found = FUNCTIONS.iter().find(|(function, ..)| *function == self);
        found.unwrap_or(&FUNCTIONS[0])
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().1)
    }
}
