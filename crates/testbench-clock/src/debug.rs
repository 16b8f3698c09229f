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
