//! How one test becomes two: one run on the real disk, one on the overlay.

use crate::common;

/// One test of upstream: its file and name, and the name of ours or why there is none.
pub(crate) struct Row {
    pub(crate) upstream: &'static str,
    pub(crate) ours: Result<&'static str, &'static str>,
}

/// Makes of each row `upstream => module::test;` a test for each subject, named after the one of
/// upstream, and of all rows the constant `ROWS`. A row `upstream => "reason";` is left out.
/// `as nobody` marks what root must not run on the real disk, since permission bits do not bind it.
macro_rules! table {
    ($($file:ident { $($upstream:ident => $($module:ident :: $test:ident $(as $who:ident)?)? $($reason:literal)? ;)* })*) => {
        const ROWS: &[Row] = &[$($(Row {
            upstream: concat!(stringify!($file), "::", stringify!($upstream)),
            ours: $(Ok(concat!(stringify!($module), "::", stringify!($test))))? $(Err($reason))?,
        },)*)*];

        mod on_the_real_disk {
            $(mod $file { $($(
                #[test]
                fn $upstream() {
                    let test = || crate::std_fs::real::Sandbox::run(crate::std_fs::real::$module::$test);
                    $crate::std_fs::subject::run(
                        concat!(module_path!(), "::", stringify!($upstream)),
                        [$(stringify!($who))?].as_slice(),
                        test,
                    );
                }
            )?)* })*
        }

        mod on_the_overlay {
            $(mod $file { $($(
                #[test]
                fn $upstream() {
                    crate::std_fs::overlay::Sandbox::run(crate::std_fs::overlay::$module::$test);
                }
            )?)* })*
        }
    };
}
pub(crate) use table;

/// Runs a test, by its full name in a process of `nobody` if that is asked for and we are root.
pub(crate) fn run(name: &str, who: &[&str], test: impl FnOnce()) {
    match who {
        ["nobody"] if common::is_root() => {
            let (_, name) =
                name.split_once("::").expect("the path of a module starts with the crate");
            common::rerun_as_nobody(name);
        }
        [] | ["nobody"] => test(),
        _ => panic!("nobody else runs tests: {who:?}"),
    }
}
