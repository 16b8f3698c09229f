//! Runs a parsed line, one [`Command`] after the other or side by side.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
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
        let status = testbench_wasi::Exit::Code(status.unsigned_abs()).status();
        Ok(Output { status, stdout, stderr })
    }

    /// The value of `$name`; empty if there is none.
    pub(super) fn variable(&self, name: &str) -> OsString {
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
    fn boolean(&mut self, mut list: &BooleanList) -> io::Result<Outcome> {
        let mut all = self.sequence(&list.current)?;
        loop {
            let (next, rest) = match &list.next {
                Sequence::BooleanList(rest) => (&rest.current, Some(rest)),
                last => (last, None),
            };
            if !self.exited && list.op.moves_next_for_exit_code(all.status) {
                all.then(self.sequence(next)?);
            }
            match rest {
                Some(rest) => list = rest,
                None => return Ok(all),
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
            return self.stage(only, None, None, true)?.0.wait();
        }
        let mut stages = Vec::new();
        let mut input = None;
        for (command, feeds) in commands {
            let (stage, output) = self.stage(command, input.take(), *feeds, false)?;
            // A stage whose output goes elsewhere, or that did not start, feeds nothing.
            input = Some(output.unwrap_or_else(Stdio::null));
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

    /// Starts one command, and returns the input of the next one with it. Its own `input` is the
    /// output of the one before it. A command that is alone
    /// runs on this thread, unless its two outputs share one pipe, which keeps their order.
    fn stage(
        &mut self,
        command: &parser::Command,
        input: Option<Stdio>,
        feeds: Option<PipeSequenceOperator>,
        is_alone: bool,
    ) -> io::Result<(Stage, Option<Stdio>)> {
        let ended = |outcome, places: Places| Ok((Stage::Ended(places.send(outcome)?), None));
        let redirected = command.redirect.as_ref().map(|redirect| self.redirection(redirect));
        let places = match redirected.unwrap_or(Ok(Places::DEFAULT)) {
            Ok(places) => places,
            Err(error) => return ended(Outcome::failed(1, error), Places::DEFAULT),
        };
        let simple = match &command.inner {
            CommandInner::Simple(simple) => simple,
            // `check.rs` refuses those that are not alone. They read no input.
            CommandInner::Subshell(list) => {
                return ended(self.clone().list(list)?, places);
            }
        };
        let args = self.arguments(simple)?;
        let Some((name, args)) = args.split_first() else {
            return ended(Outcome::default(), places);
        };
        if is_builtin(name) {
            return ended(self.builtin(name, args), places);
        }
        let mut start = self.prepare(name, args, simple)?;
        match (&places.input, input) {
            (Some(bytes), _) => start.stdin_bytes(bytes),
            (None, Some(input)) => start.stdin(input),
            (None, None) => start.stdin_bytes(std::mem::take(&mut self.stdin)),
        };
        let joined = feeds == Some(PipeSequenceOperator::StdoutStderr)
            || matches!(places.stderr, Place::Stdout);
        if is_alone && !joined {
            let outcome = start.output().map_or_else(not_started, |output| Ok(output.into()))?;
            return ended(outcome, places);
        }
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
            Err(error) => return ended(not_started(error)?, places),
        };
        // The command holds the writing ends, so readers would find no end-of-file.
        drop(start);
        let output = if feeds.is_none() || !matches!(places.stdout, Place::Stdout) {
            None
        } else if joined {
            joined_output.take().map(Stdio::from)
        } else {
            child.stdout.take().map(Stdio::from)
        };
        let places = Box::new(places);
        Ok((Stage::Started { child, joined_output, places }, output))
    }

    fn builtin(&mut self, name: &str, args: &[String]) -> Outcome {
        let bad = |problem: String| Outcome::failed(2, format_args!("{name}: {problem}"));
        match (name, args) {
            (":" | "true", _) => {}
            ("false", _) => return Outcome::of(1),
            ("exit", [] | [_]) => {
                let status = args.first().map_or("0", String::as_str);
                let Ok(code) = status.parse::<i32>() else {
                    return bad(format!("`{status}` is not a number"));
                };
                self.exited = true;
                return Outcome::of(code & 0xff);
            }
            ("cd", [dir]) => {
                let dir = self.host_path(dir);
                match fs::metadata(&dir) {
                    Ok(found) if found.is_dir() => self.dir = Some(dir),
                    Ok(_) => return bad(format!("`{}` is not a directory", dir.display())),
                    Err(error) => return bad(format!("`{}`: {error}", dir.display())),
                }
            }
            ("export", names) => {
                for text in names {
                    let (name, value) = match text.split_once('=') {
                        Some((name, value)) => (name, value.into()),
                        None => (text.as_str(), self.variable(text)),
                    };
                    let variable = Variable { value, exported: true };
                    self.variables.insert(name.to_owned(), variable);
                }
            }
            ("unset", names) => self.variables.retain(|name, _| !names.contains(name)),
            (_, args) => return bad(format!("{} arguments are too many or too few", args.len())),
        }
        Outcome::default()
    }

    fn assign(&mut self, var: &EnvVar) -> io::Result<()> {
        let value = self.text(&var.value)?.into();
        let exported = self.variables.get(&var.name).is_some_and(|old| old.exported);
        self.variables.insert(var.name.clone(), Variable { value, exported });
        Ok(())
    }

    fn host_path(&self, path: &str) -> PathBuf {
        self.dir.as_deref().unwrap_or(Path::new("")).join(path)
    }

    /// Opens the file of a redirection. An error is the command's, not the line's.
    fn redirection(&mut self, redirect: &Redirect) -> io::Result<Places> {
        let mut places = Places::DEFAULT;
        let path = match &redirect.io_file {
            IoFile::Fd(1) => return Ok(Places { stderr: Place::Stdout, ..places }),
            IoFile::Fd(_) => return Ok(Places { stdout: Place::Stderr, ..places }),
            IoFile::Word(word) => {
                let path = self.text(word)?;
                self.host_path(&path)
            }
        };
        // It is no file of the overlay.
        let is_null = path.as_os_str() == NULL_DEVICE;
        if !is_null && self.bench.files.overlay().is_none() {
            let text = format!(
                "`{}`: the session has no files; give it a directory with `.overlay(dir)`",
                path.display()
            );
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let in_path = |error: io::Error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        let mut options = fs::File::options();
        match &redirect.op {
            RedirectOp::Input(_) if is_null => {
                return Ok(Places { input: Some(Vec::new()), ..places });
            }
            RedirectOp::Input(_) => {
                let input = fs::read(&path).map_err(in_path)?;
                return Ok(Places { input: Some(input), ..places });
            }
            RedirectOp::Output(RedirectOpOutput::Append) => options.append(true),
            RedirectOp::Output(_) => options.write(true).truncate(true),
        };
        let file =
            if is_null { None } else { Some(options.create(true).open(&path).map_err(in_path)?) };
        match (&redirect.maybe_fd, file) {
            (Some(RedirectFd::Fd(2)), file) => places.stderr = Place::File(file),
            (Some(RedirectFd::StdoutStderr), file) => {
                places.stderr = Place::File(file.as_ref().map(fs::File::try_clone).transpose()?);
                places.stdout = Place::File(file);
            }
            (_, file) => places.stdout = Place::File(file),
        }
        Ok(places)
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

/// One command of a pipeline, after its start.
enum Stage {
    Started {
        child: Child,
        /// The end of the one pipe into which standard output and error both go.
        joined_output: Option<PipeReader>,
        places: Box<Places>,
    },
    Ended(Outcome),
}

impl Stage {
    fn wait(self) -> io::Result<Outcome> {
        match self {
            Stage::Ended(outcome) => Ok(outcome),
            Stage::Started { mut child, joined_output: Some(mut reader), places } => {
                let mut stdout = Vec::new();
                reader.read_to_end(&mut stdout)?;
                let status = sys::shell_status(child.wait()?);
                places.send(Outcome { status, stdout, stderr: Vec::new() })
            }
            Stage::Started { child, joined_output: None, places } => {
                places.send(child.wait_with_output()?.into())
            }
        }
    }
}

/// The places of a command's streams, as its redirection says.
struct Places {
    /// The bytes of a file.
    input: Option<Vec<u8>>,
    stdout: Place,
    stderr: Place,
}

/// The place of an output.
enum Place {
    /// That of the command's own standard output.
    Stdout,
    Stderr,
    /// To `/dev/null` if there is no file.
    File(Option<fs::File>),
}

impl Places {
    const DEFAULT: Places = Places { input: None, stdout: Place::Stdout, stderr: Place::Stderr };

    /// Sends the output of a command where it belongs. Returns the rest, which is the line's.
    fn send(self, outcome: Outcome) -> io::Result<Outcome> {
        let mut rest = Outcome::of(outcome.status);
        for (place, bytes) in [(self.stdout, outcome.stdout), (self.stderr, outcome.stderr)] {
            match place {
                Place::Stdout => rest.stdout.extend(bytes),
                Place::Stderr => rest.stderr.extend(bytes),
                Place::File(Some(mut file)) => file.write_all(&bytes)?,
                Place::File(None) => {}
            }
        }
        Ok(rest)
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
