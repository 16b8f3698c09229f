//! The arguments in the parentheses of the attribute.

use proc_macro2::Span;
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Path, Result, Token};

/// All of it is optional.
#[derive(Default)]
pub(crate) struct Arguments {
    pub(crate) start: Option<Start>,
    pub(crate) seed: Option<u64>,
    pub(crate) parallel: bool,
    /// The function that drives an async test.
    pub(crate) driver: Option<(&'static str, Span)>,
    /// The path of testbench-clock, for those who rename it.
    pub(crate) krate: Option<Path>,
}

/// Where the wall clock starts.
pub(crate) enum Start {
    /// To be read by the compiler, so that an error is one of compilation.
    Rfc3339(LitStr),
    /// Anything of type `WallTime`.
    Expression(Box<Expr>),
}

const KNOWN: &str = "known are `start`, `seed`, `schedule`, `driver` and `crate`";

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut arguments = Arguments::default();
        let mut seen: Vec<String> = Vec::new();
        while !input.is_empty() {
            let key = key(input)?;
            let name = key.to_string();
            if seen.contains(&name) {
                return Err(Error::new(key.span(), format!("`{name}` is given twice")));
            }
            if !input.peek(Token![=]) {
                let text = format!("`{name}` takes a value, as in `{}`", usage(&name).1);
                return Err(Error::new(key.span(), text));
            }
            input.parse::<Token![=]>()?;
            arguments.set(&name, key.span(), input.parse()?)?;
            seen.push(name);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    fn set(&mut self, name: &str, key: Span, value: Expr) -> Result<()> {
        let span = value.span();
        match name {
            "start" => {
                self.start = Some(match literal(&value) {
                    Some(Lit::Str(text)) => Start::Rfc3339(text.clone()),
                    Some(_) => return Err(wrong(span, "start")),
                    None => Start::Expression(Box::new(value)),
                });
            }
            "seed" => {
                let Some(Lit::Int(number)) = literal(&value) else {
                    return Err(wrong(span, "seed"));
                };
                self.seed = Some(number.base10_parse().map_err(|_| wrong(span, "seed"))?);
            }
            "schedule" => {
                self.parallel = match text(&value).as_deref() {
                    Some("serial") => false,
                    Some("parallel") => true,
                    _ => return Err(wrong(span, "schedule")),
                };
            }
            "driver" => {
                let driver = match text(&value).as_deref() {
                    Some("block_on") => "drive_by_block_on",
                    Some("tokio") => "drive_by_tokio",
                    Some("tokio_paused") => "drive_by_paused_tokio",
                    _ => return Err(wrong(span, "driver")),
                };
                self.driver = Some((driver, key));
            }
            "crate" => {
                let path = text(&value).and_then(|text| syn::parse_str(&text).ok());
                self.krate = Some(path.ok_or_else(|| wrong(span, "crate"))?);
            }
            _ => return Err(Error::new(key, format!("`{name}` is unknown; {KNOWN}"))),
        }
        Ok(())
    }
}

/// `crate` is a keyword, the others are names.
fn key(input: ParseStream<'_>) -> Result<Ident> {
    if let Some(keyword) = input.parse::<Option<Token![crate]>>()? {
        return Ok(Ident::new("crate", keyword.span));
    }
    let here = input.span();
    input.parse().map_err(|_| Error::new(here, format!("the name of an argument; {KNOWN}")))
}

fn wrong(span: Span, name: &str) -> Error {
    let (kind, example) = usage(name);
    Error::new(span, format!("`{name}` is {kind}, as in `{example}`"))
}

/// The kind of value that an argument takes, and an example.
fn usage(name: &str) -> (&'static str, &'static str) {
    match name {
        "start" => (
            "an RFC 3339 time, or an expression of type `WallTime`",
            "start = \"2024-02-29T23:59:59Z\"",
        ),
        "schedule" => ("\"serial\" or \"parallel\"", "schedule = \"serial\""),
        "driver" => ("\"block_on\", \"tokio\" or \"tokio_paused\"", "driver = \"tokio\""),
        "crate" => ("a path in quotes", "crate = \"testbench::clock\""),
        _ => ("a number below 2^64", "seed = 7"),
    }
}

fn literal(value: &Expr) -> Option<&Lit> {
    match value {
        Expr::Lit(ExprLit { lit, .. }) => Some(lit),
        _ => None,
    }
}

fn text(value: &Expr) -> Option<String> {
    match literal(value) {
        Some(Lit::Str(text)) => Some(text.value()),
        _ => None,
    }
}
