//! Runs a parsed line, one [`Command`] after the other or side by side.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::Output;

use deno_task_shell::parser::{
    self, BooleanList, CommandInner, EnvVar, IoFile, PipeSequenceOperator, Pipeline, PipelineInner,
    Redirect, RedirectFd, RedirectOp, RedirectOpOutput, Sequence, SequentialList, SimpleCommand,
};
use testbench_overlay::fs;

use crate::bench::Bench;
use crate::{Child, Command, PipeReader, Refusal, SpawnError, Stdio, sys};

/// The commands that a shell does itself, since they change the shell.
const BUILTINS: [&str; 7] = [":", "cd", "exit", "export", "false", "true", "unset"];

/// The path that stands for no file.
const NULL_DEVICE: &str = "/dev/null";

pub(super) fn is_builtin(name: &str) -> bool {
    BUILTINS.contains(&name)
}

/// The state of a shell, which `cd` and assignments change.
#[derive(Clone)]
pub(super) struct Shell<'a> {
    bench: &'a Bench,
    /// Every variable; commands see those of the session and the exported ones.
    variables: BTreeMap<String, Variable>,
    dir: Option<PathBuf>,
    /// Set by `exit`.
    exited: bool,
    /// The part of the line's own input that no command has read.
    stdin: Vec<u8>,
}

#[derive(Clone)]
struct Variable {
    value: OsString,
    exported: bool,
}

/// The result of a part of a line.
#[derive(Default)]
struct Outcome {
    status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Outcome {
    fn of(status: i32) -> Outcome {
        Outcome { status, ..Outcome::default() }
    }

    /// A failure with a message on standard error, after the shell's name.
    fn failed(status: i32, problem: impl std::fmt::Display) -> Outcome {
        Outcome { status, stdout: Vec::new(), stderr: format!("sh: {problem}\n").into_bytes() }
    }

    /// Adds the next part, whose status counts.
    fn then(&mut self, next: Outcome) {
        self.status = next.status;
        self.stdout.extend(next.stdout);
        self.stderr.extend(next.stderr);
    }
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Outcome {
        let status = sys::shell_status(output.status);
        Outcome { status, stdout: output.stdout, stderr: output.stderr }
    }
}

impl<'a> Shell<'a> {
    pub(super) fn new(bench: &'a Bench, stdin: Vec<u8>) -> Shell<'a> {
        let variables = bench.env.iter().map(|(key, value)| {
            let variable = Variable { value: value.clone(), exported: true };
            (key.to_string_lossy().into_owned(), variable)
        });
        Shell { bench, variables: variables.collect(), dir: None, exited: false, stdin }
    }

    pub(super) fn output(&mut self, list: &SequentialList) -> io::Result<Output> {
        let Outcome { status, stdout, stderr } = self.list(list)?;
        Ok(Output {
            status: testbench_wasi::Exit::Code(status.unsigned_abs()).status(),
            stdout,
            stderr,
        })
    }

    /// The value of `$name`; empty if there is none.
    pub(super) fn variable(&self, name: &str) -> String {
        self.raw_variable(name).to_string_lossy().into_owned()
    }

    fn raw_variable(&self, name: &str) -> OsString {
        self.variables.get(name).map(|variable| variable.value.clone()).unwrap_or_default()
    }

    /// The text of `$(list)`. It runs in a shell of its own, and its standard error is dropped.
    pub(super) fn substitute(&mut self, list: &SequentialList) -> io::Result<String> {
        let outcome = self.clone().list(list)?;
        Ok(String::from_utf8_lossy(&outcome.stdout).into_owned())
    }

    fn list(&mut self, list: &SequentialList) -> io::Result<Outcome> {
        let mut all = Outcome::default();
        for item in &list.items {
            all.then(self.sequence(&item.sequence)?);
            if self.exited {
                break;
            }
        }
        Ok(all)
    }

    fn sequence(&mut self, sequence: &Sequence) -> io::Result<Outcome> {
        match sequence {
            Sequence::ShellVar(var) => {
                self.assign(var)?;
                Ok(Outcome::default())
            }
            Sequence::Pipeline(pipeline) => self.pipeline(pipeline),
            Sequence::BooleanList(list) => self.boolean(list),
        }
    }

    /// `a && b || c` binds from the left, while the parser nests to the right: so this goes along
    /// the chain and skips what an operator skips.
    fn boolean(&mut self, list: &BooleanList) -> io::Result<Outcome> {
        let mut all = self.sequence(&list.current)?;
        let mut rest = list;
        loop {
            let taken = !self.exited && rest.op.moves_next_for_exit_code(all.status);
            match &rest.next {
                Sequence::BooleanList(next) => {
                    if taken {
                        all.then(self.sequence(&next.current)?);
                    }
                    rest = next;
                }
                last => {
                    if taken {
                        all.then(self.sequence(last)?);
                    }
                    return Ok(all);
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) -> io::Result<Outcome> {
        let mut outcome = self.pipe(&stages(&pipeline.inner))?;
        if pipeline.negated && !self.exited {
            outcome.status = i32::from(outcome.status == 0);
        }
        Ok(outcome)
    }

    fn arguments(&mut self, simple: &SimpleCommand) -> io::Result<Vec<String>> {
        let mut args = Vec::new();
        for word in &simple.args {
            args.extend(self.fields(word)?);
        }
        Ok(args)
    }

    /// A command with this shell's directory and variables, and the simple command's own ones.
    fn prepare(
        &mut self,
        name: &str,
        args: &[String],
        simple: &SimpleCommand,
    ) -> io::Result<Command> {
        let mut command = Command::new(name);
        command.args(args).env_clear();
        for (key, variable) in self.variables.iter().filter(|(_, variable)| variable.exported) {
            command.env(key, &variable.value);
        }
        for var in &simple.env_vars {
            let value = self.text(&var.value)?;
            command.env(&var.name, value);
        }
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        Ok(command)
    }

    /// Runs `1` alone, or `1 | 2 | 3` side by side. All of them are participants of the session's
    /// timeline, so their status and their output are the same in every run.
    fn pipe(&mut self, commands: &[StageOfLine<'_>]) -> io::Result<Outcome> {
        if let [(only, None)] = commands {
            return self.stage(only, None, None, true)?.wait();
        }
        let mut stages = Vec::new();
        let mut input = None;
        for (command, feeds) in commands {
            let mut stage = self.stage(command, input.take(), *feeds, false)?;
            if feeds.is_some() {
                // A stage whose output goes elsewhere, or that did not start, feeds nothing.
                input = Some(stage.output.take().unwrap_or_else(Stdio::null));
            }
            stages.push(stage);
        }
        let outcomes = testbench_clock::thread::scope(|scope| {
            let waits: Vec<_> =
                stages.into_iter().map(|stage| scope.spawn(move || stage.wait())).collect();
            waits.into_iter().map(|wait| wait.join()).collect::<Vec<_>>()
        });
        let mut all = Outcome::default();
        for outcome in outcomes {
            let outcome = outcome
                .map_err(|_| io::Error::other("a thread that waited for a child has panicked"))?;
            all.then(outcome?);
        }
        Ok(all)
    }

    /// Starts one command. Its `input` is the output of the one before it. A command that is alone
    /// runs on this thread, unless its two outputs share one pipe, which keeps their order.
    fn stage(
        &mut self,
        command: &parser::Command,
        input: Option<Stdio>,
        feeds: Option<PipeSequenceOperator>,
        is_alone: bool,
    ) -> io::Result<Stage> {
        let redirect = match command.redirect.as_ref().map(|r| self.redirection(r)).transpose() {
            Ok(redirect) => redirect,
            Err(error) => return Ok(Stage::ended(Outcome::failed(1, error), None)),
        };
        let simple = match &command.inner {
            CommandInner::Simple(simple) => simple,
            // `check.rs` refuses those that are not alone. They read no input.
            CommandInner::Subshell(list) => {
                return Ok(Stage::ended(self.clone().list(list)?, redirect));
            }
        };
        let args = self.arguments(simple)?;
        let Some((name, args)) = args.split_first() else {
            return Ok(Stage::ended(Outcome::default(), redirect));
        };
        if is_builtin(name) {
            return Ok(Stage::ended(self.builtin(name, args)?, redirect));
        }
        let mut start = self.prepare(name, args, simple)?;
        match (redirect.as_ref().and_then(Redirection::input), input) {
            (Some(bytes), _) => start.stdin_bytes(bytes),
            (None, Some(input)) => start.stdin(input),
            (None, None) => start.stdin_bytes(std::mem::take(&mut self.stdin)),
        };
        let joined = feeds == Some(PipeSequenceOperator::StdoutStderr)
            || matches!(redirect, Some(Redirection::ErrorToOutput));
        if is_alone && !joined {
            let outcome = start.output().map_or_else(not_started, |output| Ok(output.into()))?;
            return Ok(Stage::ended(outcome, redirect));
        }
        let feeds = feeds.is_some() && redirect.as_ref().is_none_or(|r| !r.takes_output());
        let mut joined_output = None;
        if joined {
            let (reader, writer) = crate::pipe()?;
            start.stdout(writer.try_clone()?).stderr(writer);
            joined_output = Some(reader);
        } else {
            start.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        let mut child = match start.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Stage::ended(not_started(error)?, redirect)),
        };
        // The command holds the writing ends, so readers would find no end-of-file.
        drop(start);
        let output = match (feeds, joined_output.take()) {
            (true, Some(reader)) => Some(Stdio::from(reader)),
            (true, None) => child.stdout.take().map(Stdio::from),
            (false, reader) => {
                joined_output = reader;
                None
            }
        };
        Ok(Stage { state: StageState::Started { child, joined_output }, redirect, output })
    }

    fn builtin(&mut self, name: &str, args: &[String]) -> io::Result<Outcome> {
        let bad = |problem: String| Ok(Outcome::failed(2, format_args!("{name}: {problem}")));
        match (name, args) {
            (":" | "true", _) => Ok(Outcome::default()),
            ("false", _) => Ok(Outcome::of(1)),
            ("exit", []) => {
                self.exited = true;
                Ok(Outcome::default())
            }
            ("exit", [status]) => match status.parse::<i32>() {
                Ok(status) => {
                    self.exited = true;
                    Ok(Outcome::of(status & 0xff))
                }
                Err(_) => bad(format!("`{status}` is not a number")),
            },
            ("cd", [dir]) => {
                let dir = self.host_path(dir);
                match fs::metadata(&dir) {
                    Ok(found) if found.is_dir() => {
                        self.dir = Some(dir);
                        Ok(Outcome::default())
                    }
                    Ok(_) => bad(format!("`{}` is not a directory", dir.display())),
                    Err(error) => bad(format!("`{}`: {error}", dir.display())),
                }
            }
            ("export", names) => {
                for text in names {
                    let (name, value) = match text.split_once('=') {
                        Some((name, value)) => (name, value.into()),
                        None => (text.as_str(), self.raw_variable(text)),
                    };
                    let variable = Variable { value, exported: true };
                    self.variables.insert(name.to_owned(), variable);
                }
                Ok(Outcome::default())
            }
            ("unset", names) => {
                for name in names {
                    self.variables.remove(name);
                }
                Ok(Outcome::default())
            }
            (_, args) => bad(format!("{} arguments are too many or too few", args.len())),
        }
    }

    fn assign(&mut self, var: &EnvVar) -> io::Result<()> {
        let value = self.text(&var.value)?.into();
        let exported = self.variables.get(&var.name).is_some_and(|old| old.exported);
        self.variables.insert(var.name.clone(), Variable { value, exported });
        Ok(())
    }

    fn host_path(&self, path: &str) -> PathBuf {
        match &self.dir {
            Some(dir) => dir.join(path),
            None => PathBuf::from(path),
        }
    }

    /// Opens the file of a redirection. An error is the command's, not the line's.
    fn redirection(&mut self, redirect: &Redirect) -> io::Result<Redirection> {
        let path = match &redirect.io_file {
            IoFile::Fd(1) => return Ok(Redirection::ErrorToOutput),
            IoFile::Fd(_) => return Ok(Redirection::OutputToError),
            IoFile::Word(word) => {
                let path = self.text(word)?;
                self.host_path(&path)
            }
        };
        let streams = match (&redirect.op, &redirect.maybe_fd) {
            (RedirectOp::Input(_), _) => None,
            (_, Some(RedirectFd::StdoutStderr)) => Some(Streams::Both),
            (_, Some(RedirectFd::Fd(2))) => Some(Streams::Error),
            _ => Some(Streams::Output),
        };
        if path.as_os_str() == NULL_DEVICE {
            // It is no file of the overlay.
            return Ok(match streams {
                None => Redirection::Input(Vec::new()),
                Some(streams) => Redirection::Output { streams, file: None },
            });
        }
        if self.bench.files.overlay().is_none() {
            let text = format!(
                "`{}`: the session has no files; give it a directory with `.overlay(dir)`",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let in_path = |error: io::Error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        let Some(streams) = streams else {
            return fs::read(&path).map(Redirection::Input).map_err(in_path);
        };
        let mut options = fs::File::options();
        match redirect.op {
            RedirectOp::Output(RedirectOpOutput::Append) => options.append(true),
            _ => options.write(true).truncate(true),
        };
        let file = options.create(true).open(&path).map_err(in_path)?;
        Ok(Redirection::Output { streams, file: Some(file) })
    }
}

/// One command of a pipeline as it is parsed. Its output goes to the next one if there is an
/// operator.
pub(super) type StageOfLine<'l> = (&'l parser::Command, Option<PipeSequenceOperator>);

/// The commands of a pipeline, in their order.
pub(super) fn stages(mut pipeline: &PipelineInner) -> Vec<StageOfLine<'_>> {
    let mut stages = Vec::new();
    loop {
        match pipeline {
            PipelineInner::PipeSequence(pipe) => {
                stages.push((&pipe.current, Some(pipe.op)));
                pipeline = &pipe.next;
            }
            PipelineInner::Command(last) => {
                stages.push((last, None));
                return stages;
            }
        }
    }
}

/// One command of a pipeline, between its start and its end.
struct Stage {
    state: StageState,
    redirect: Option<Redirection>,
    /// The input of the next command.
    output: Option<Stdio>,
}

enum StageState {
    Started {
        child: Child,
        /// The end of the one pipe into which standard output and error both go.
        joined_output: Option<PipeReader>,
    },
    Ended(Outcome),
}

impl Stage {
    fn ended(outcome: Outcome, redirect: Option<Redirection>) -> Stage {
        Stage { state: StageState::Ended(outcome), redirect, output: None }
    }

    fn wait(self) -> io::Result<Outcome> {
        let mut outcome = match self.state {
            StageState::Ended(outcome) => outcome,
            StageState::Started { mut child, joined_output: Some(mut reader) } => {
                let mut stdout = Vec::new();
                reader.read_to_end(&mut stdout)?;
                let status = sys::shell_status(child.wait()?);
                Outcome { status, stdout, stderr: Vec::new() }
            }
            StageState::Started { child, joined_output: None } => child.wait_with_output()?.into(),
        };
        if let Some(redirect) = self.redirect {
            redirect.send(&mut outcome)?;
        }
        Ok(outcome)
    }
}

/// A redirection whose file is open.
enum Redirection {
    Input(Vec<u8>),
    /// To `/dev/null` if there is no file.
    Output {
        streams: Streams,
        file: Option<fs::File>,
    },
    /// `2>&1`
    ErrorToOutput,
    /// `>&2`
    OutputToError,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Streams {
    Output,
    Error,
    Both,
}

impl Redirection {
    fn input(&self) -> Option<Vec<u8>> {
        match self {
            Redirection::Input(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// Whether standard output goes elsewhere.
    fn takes_output(&self) -> bool {
        match self {
            Redirection::Input(_) | Redirection::ErrorToOutput => false,
            Redirection::OutputToError => true,
            Redirection::Output { streams, .. } => *streams != Streams::Error,
        }
    }

    /// Sends the output of a command where it belongs.
    fn send(self, outcome: &mut Outcome) -> io::Result<()> {
        match self {
            Redirection::Input(_) => {}
            Redirection::ErrorToOutput => outcome.stdout.append(&mut outcome.stderr),
            Redirection::OutputToError => outcome.stderr.append(&mut outcome.stdout),
            Redirection::Output { streams, mut file } => {
                for (other, bytes) in
                    [(Streams::Error, &mut outcome.stdout), (Streams::Output, &mut outcome.stderr)]
                {
                    if streams != other {
                        file.iter_mut().try_for_each(|file| file.write_all(bytes))?;
                        bytes.clear();
                    }
                }
            }
        }
        Ok(())
    }
}

/// The outcome of a command that cannot be started, as in a shell. Fails if the session has ended.
fn not_started(error: io::Error) -> io::Result<Outcome> {
    match SpawnError::of(&error) {
        Some(SpawnError::Refused(Refusal::Ended(_))) => Err(error),
        Some(spawn) => Ok(Outcome::failed(spawn.shell_status(), &error)),
        None if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::failed(127, &error)),
        None => Ok(Outcome::failed(126, &error)),
    }
}
