//! Debug prints of types that hold foreign or long values.

/// Implements `Debug` for a type: by its name and the given fields, as a struct that has others.
macro_rules! debug_by {
    ([$($generic:ident)?] $type:ty, $name:literal, |$it:pat_param| { $($field:ident: $value:expr),* }) => {
        impl$(<$generic>)? std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $it = self;
                f.debug_struct($name)
                    $(.field(stringify!($field), &$value))*
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use debug_by;

#[cfg(test)]
mod tests {
    #[test]
    fn a_print_has_the_name_and_the_chosen_fields() {
        struct Pair<T> {
            shown: T,
            hidden: T,
        }
        debug_by!([] Pair<u8>, "Pair", |it| { shown: it.shown });
        let pair = Pair { shown: 1_u8, hidden: 2 };
        assert_eq!((format!("{pair:?}"), pair.hidden), ("Pair { shown: 1, .. }".to_owned(), 2));
    }
}
