//! From a function to a test: the function goes inside, so that `return` and `?` mean what they did.

use crate::arguments::{Arguments, Start};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ItemFn, Path, Result, Safety, Signature, parse_quote, parse2};

pub(crate) fn test(arguments: TokenStream, function: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = parse2(arguments)?;
    let span = function.span();
    let function: ItemFn = parse2(function)
        .map_err(|_| Error::new(span, "`#[testbench_clock::test]` is for functions"))?;
    check(&function, &arguments)?;
    Ok(expand(function, &arguments))
}

fn check(function: &ItemFn, arguments: &Arguments) -> Result<()> {
    let Signature { inputs, generics, constness, safety, abi, asyncness, .. } = &function.sig;
    let is_test = |path: &Path| path.segments.last().is_some_and(|last| last.ident == "test");
    let second = function.attrs.iter().find(|attribute| is_test(attribute.path()));
    let unsafe_span = match safety {
        Safety::Unsafe(keyword) => Some(keyword.span()),
        _ => None,
    };
    let driver = arguments.driver.filter(|_| asyncness.is_none()).map(|(_, span)| span);
    let refused = [
        (
            (!inputs.is_empty()).then(|| inputs.span()),
            "a test takes no arguments: the test runner has none to give",
        ),
        (
            (!generics.params.is_empty()).then(|| generics.span()),
            "a test has no generic parameters",
        ),
        (constness.map(|keyword| keyword.span()), "a test on a clock cannot be `const`"),
        (unsafe_span, "a test cannot be `unsafe`; use a block inside of it"),
        (abi.as_ref().map(Spanned::span), "a test cannot be `extern`"),
        (
            second.map(Spanned::span),
            "this is a second `#[test]`; `#[testbench_clock::test]` alone makes it one",
        ),
        (driver, "`driver` is for async tests, and this one is not `async`"),
    ];
    match refused.into_iter().find_map(|(span, why)| Some((span?, why))) {
        Some((span, why)) => Err(Error::new(span, why)),
        None => Ok(()),
    }
}

fn expand(mut function: ItemFn, arguments: &Arguments) -> TokenStream {
    let krate: Path = arguments.krate.clone().unwrap_or_else(|| parse_quote!(::testbench_clock));
    let (attributes, visibility) = (std::mem::take(&mut function.attrs), function.vis);
    let (name, output) = (&function.sig.ident, &function.sig.output);
    let shown = name.to_string();
    let inner = format_ident!("body", span = name.span());
    let (asyncness, block) = (&function.sig.asyncness, &function.block);
    let settings = settings(arguments, &krate);
    // At the name of the test, so that reports name its line and not that of the attribute.
    let run = match asyncness {
        None => quote_spanned!(name.span() => #krate::__private::run(clock, #inner)),
        Some(_) => {
            let drive = format_ident!("{}", arguments.driver.map_or("drive", |(drive, _)| drive));
            quote_spanned! { name.span() =>
                #krate::__private::run(clock, || #krate::__private::#drive(#inner()))
            }
        }
    };
    let build = quote_spanned! { name.span() =>
        let clock = #krate::MockClock::builder().name(#shown) #settings .build();
    };
    quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility fn #name() #output {
            #asyncness fn #inner() #output #block
            #build
            #run
        }
    }
}

fn settings(arguments: &Arguments, krate: &Path) -> TokenStream {
    let start = arguments.start.as_ref().map(|start| match start {
        Start::Expression(start) => quote!(.start(#start)),
        Start::Rfc3339(text) => quote_spanned! { text.span() =>
            .start(const { #krate::__private::start(#text) })
        },
    });
    let seed = arguments.seed.map(|seed| quote!(.ties(#krate::Seed::new(#seed))));
    let schedule = arguments.parallel.then(|| quote!(.schedule(#krate::Schedule::Parallel)));
    quote!(#start #seed #schedule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(arguments: &str, function: &str) -> std::result::Result<String, String> {
        let [arguments, function] = [arguments, function].map(|text| text.parse().unwrap());
        match test(arguments, function) {
            Ok(tokens) => Ok(tokens.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn error(arguments: &str, function: &str) -> String {
        expanded(arguments, function).unwrap_err()
    }

    #[test]
    fn wrong_arguments_are_told() {
        let told = |arguments| error(arguments, "fn f() {}");
        let known = "known are `start`, `seed`, `schedule`, `driver` and `crate`";
        for (arguments, expected) in [
            ("speed = 7", format!("`speed` is unknown; {known}")),
            ("7", format!("the name of an argument; {known}")),
            ("seed", "`seed` takes a value, as in `seed = 7`".to_owned()),
            ("seed = 1, seed = 2", "`seed` is given twice".to_owned()),
            ("seed = \"x\"", "`seed` is a number below 2^64, as in `seed = 7`".to_owned()),
            ("seed = 18446744073709551616", "`seed` is a number below 2^64, as in `seed = 7`".to_owned()),
            (
                "schedule = \"fair\"",
                "`schedule` is \"serial\" or \"parallel\", as in `schedule = \"serial\"`".to_owned(),
            ),
            (
                "driver = tokio",
                "`driver` is \"block_on\", \"tokio\" or \"tokio_paused\", as in `driver = \"tokio\"`"
                    .to_owned(),
            ),
            (
                "start = 7",
                "`start` is an RFC 3339 time, or an expression of type `WallTime`, as in `start = \
                 \"2024-02-29T23:59:59Z\"`"
                    .to_owned(),
            ),
            (
                "crate = 7",
                "`crate` is a path in quotes, as in `crate = \"testbench::clock\"`".to_owned(),
            ),
            ("seed = 1 start", "expected `,`".to_owned()),
            (
                "driver = \"tokio\"",
                "`driver` is for async tests, and this one is not `async`".to_owned(),
            ),
        ] {
            assert_eq!(told(arguments), expected, "{arguments}");
        }
    }

    #[test]
    fn what_cannot_be_a_test_is_told() {
        for (function, expected) in [
            ("struct S;", "`#[testbench_clock::test]` is for functions"),
            ("fn f(x: u8) {}", "a test takes no arguments: the test runner has none to give"),
            ("fn f<T>() {}", "a test has no generic parameters"),
            ("const fn f() {}", "a test on a clock cannot be `const`"),
            ("unsafe fn f() {}", "a test cannot be `unsafe`; use a block inside of it"),
            ("extern \"C\" fn f() {}", "a test cannot be `extern`"),
            (
                "#[test] fn f() {}",
                "this is a second `#[test]`; `#[testbench_clock::test]` alone makes it one",
            ),
            (
                "#[tokio::test] async fn f() {}",
                "this is a second `#[test]`; `#[testbench_clock::test]` alone makes it one",
            ),
        ] {
            assert_eq!(error("", function), expected, "{function}");
        }
    }

    #[test]
    fn arguments_become_settings() {
        let all = "start = \"2024-02-29T00:00:00Z\", seed = 0x10, schedule = \"parallel\", \
                   crate = \"a::b\",";
        let expanded = expanded(all, "#[ignore] pub fn name() -> u8 { 7 }").unwrap();
        for part in [
            "# [ignore] # [:: core :: prelude :: v1 :: test] pub fn name () -> u8",
            "fn body () -> u8 { 7 }",
            "a :: b :: MockClock :: builder () . name (\"name\")",
            ". start (const { a :: b :: __private :: start (\"2024-02-29T00:00:00Z\") })",
            ". ties (a :: b :: Seed :: new (16u64))",
            ". schedule (a :: b :: Schedule :: Parallel)",
            "a :: b :: __private :: run (clock , body)",
        ] {
            assert!(expanded.contains(part), "{part}\n{expanded}");
        }
    }

    #[test]
    fn drivers_of_async_tests() {
        for (arguments, drive) in [
            ("", "drive (body ())"),
            ("driver = \"block_on\"", "drive_by_block_on (body ())"),
            ("driver = \"tokio\"", "drive_by_tokio (body ())"),
            ("driver = \"tokio_paused\"", "drive_by_paused_tokio (body ())"),
        ] {
            let expanded = expanded(arguments, "async fn f() {}").unwrap();
            assert!(expanded.contains("async fn body ()"), "{expanded}");
            assert!(expanded.contains(drive), "{expanded}");
        }
    }
}
