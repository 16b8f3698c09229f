//! Checks a whole command line for unsupported constructs before any of it runs.

use std::borrow::Cow;

use deno_task_shell::parser::{
    Command, CommandInner, IoFile, Redirect, RedirectFd, RedirectOp, Sequence, SequentialList,
    Word, WordPart,
};

use super::run::{is_builtin, stages};

/// A construct that the parser knows and `run.rs` does not run, by its name and with its verb.
pub(super) type Construct = Cow<'static, str>;

pub(super) fn understood(list: &SequentialList) -> Result<(), Construct> {
    for item in &list.items {
        if item.is_async {
            return Err("a command in the background (`&`) is".into());
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
        CommandInner::Subshell(_) => return Err("a group `( )` inside of a pipeline is".into()),
        CommandInner::Simple(simple) => {
            if let Some([WordPart::Text(name)]) = simple.args.first().map(|w| w.parts().as_slice())
                && is_builtin(name)
                // These two do the same to the rest of a pipeline as programs of that name.
                && !matches!(name.as_str(), "true" | "false")
            {
                return Err(format!("the built-in command `{name}` inside of a pipeline is").into());
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

const REDIRECTION: &str = "a redirection of anything but 0, 1, 2, or one that turns 0 around, is";

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
        _ if !sound => Err(REDIRECTION.into()),
        IoFile::Word(path) => word(path),
        IoFile::Fd(_) => Ok(()),
    }
}

fn word(of: &Word) -> Result<(), Construct> {
    of.parts().iter().try_for_each(|part| match part {
        WordPart::Text(text) if text.contains(['*', '?', '[']) => {
            Err(format!("the file name pattern `{text}` (quote it if it is none) is").into())
        }
        WordPart::Text(_) | WordPart::Variable(_) => Ok(()),
        WordPart::Tilde => Err("`~` is".into()),
        WordPart::Brace(_) => Err("`{…}` is".into()),
        WordPart::Command(list) => understood(list),
        // In quotes only these two have a meaning.
        WordPart::Quoted(parts) => parts.iter().try_for_each(|part| match part {
            WordPart::Command(list) => understood(list),
            _ => Ok(()),
        }),
    })
}
