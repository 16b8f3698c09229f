//! Checks a whole command line for unsupported constructs before any of it runs.

use std::fmt;

use deno_task_shell::parser::{
    Command, CommandInner, IoFile, Redirect, RedirectFd, RedirectOp, Sequence, SequentialList,
    Word, WordPart,
};

use super::run::{is_builtin, stages};

/// A construct that the parser knows and `run.rs` does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Construct {
    Background,
    Tilde,
    Braces,
    Pattern(String),
    GroupInPipeline,
    BuiltinInPipeline(String),
    Redirection,
}

impl fmt::Display for Construct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Construct::Background => f.write_str("a command in the background (`&`) is"),
            Construct::Tilde => f.write_str("`~` is"),
            Construct::Braces => f.write_str("`{…}` is"),
            Construct::Pattern(word) => {
                write!(f, "the file name pattern `{word}` (quote it if it is none) is")
            }
            Construct::GroupInPipeline => f.write_str("a group `( )` inside of a pipeline is"),
            Construct::BuiltinInPipeline(name) => {
                write!(f, "the built-in command `{name}` inside of a pipeline is")
            }
            Construct::Redirection => {
                f.write_str("a redirection of anything but 0, 1, 2, or one that turns 0 around, is")
            }
        }
    }
}

pub(super) fn understood(list: &SequentialList) -> Result<(), Construct> {
    for item in &list.items {
        if item.is_async {
            return Err(Construct::Background);
        }
        sequence(&item.sequence)?;
    }
    Ok(())
}

fn sequence(of: &Sequence) -> Result<(), Construct> {
    match of {
        Sequence::ShellVar(var) => word(&var.value),
        Sequence::Pipeline(pipeline) => match stages(&pipeline.inner).as_slice() {
            [(only, _)] => command(only),
            several => several.iter().try_for_each(|(of, _)| stage(of)),
        },
        Sequence::BooleanList(list) => {
            sequence(&list.current)?;
            sequence(&list.next)
        }
    }
}

/// A command that runs beside others.
fn stage(of: &Command) -> Result<(), Construct> {
    match &of.inner {
        CommandInner::Subshell(_) => return Err(Construct::GroupInPipeline),
        CommandInner::Simple(simple) => {
            if let Some([WordPart::Text(name)]) = simple.args.first().map(|w| w.parts().as_slice())
                && is_builtin(name)
                // These two do the same to the rest of a pipeline as programs of that name.
                && !matches!(name.as_str(), "true" | "false")
            {
                return Err(Construct::BuiltinInPipeline(name.clone()));
            }
        }
    }
    command(of)
}

fn command(of: &Command) -> Result<(), Construct> {
    match &of.inner {
        CommandInner::Simple(simple) => {
            for var in &simple.env_vars {
                word(&var.value)?;
            }
            simple.args.iter().try_for_each(word)?;
        }
        CommandInner::Subshell(list) => understood(list)?,
    }
    of.redirect.as_ref().map_or(Ok(()), redirection)
}

fn redirection(of: &Redirect) -> Result<(), Construct> {
    let sound = matches!(
        (&of.op, &of.maybe_fd, &of.io_file),
        (RedirectOp::Input(_), None | Some(RedirectFd::Fd(0)), IoFile::Word(_))
            | (RedirectOp::Output(_), None | Some(RedirectFd::Fd(1 | 2)), IoFile::Word(_))
            | (RedirectOp::Output(_), Some(RedirectFd::StdoutStderr), IoFile::Word(_))
            | (RedirectOp::Output(_), None | Some(RedirectFd::Fd(1)), IoFile::Fd(2))
            | (RedirectOp::Output(_), Some(RedirectFd::Fd(2)), IoFile::Fd(1))
    );
    match &of.io_file {
        _ if !sound => Err(Construct::Redirection),
        IoFile::Word(path) => word(path),
        IoFile::Fd(_) => Ok(()),
    }
}

fn word(of: &Word) -> Result<(), Construct> {
    of.parts().iter().try_for_each(|part| match part {
        WordPart::Text(text) if text.contains(['*', '?', '[']) => {
            Err(Construct::Pattern(text.clone()))
        }
        WordPart::Text(_) | WordPart::Variable(_) => Ok(()),
        WordPart::Tilde => Err(Construct::Tilde),
        WordPart::Brace(_) => Err(Construct::Braces),
        WordPart::Command(list) => understood(list),
        // In quotes only these two have a meaning.
        WordPart::Quoted(parts) => parts.iter().try_for_each(|part| match part {
            WordPart::Command(list) => understood(list),
            _ => Ok(()),
        }),
    })
}
