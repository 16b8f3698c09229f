//! The arguments of the command line, as values.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use testbench_clock::WallTime;
use testbench_harness::tape::CompareMode;
use testbench_harness::{Policy, Toolchain, ToolchainSource, UnknownPolicy};

/// Runs tools as WebAssembly: under a mock clock, on an overlay of a real directory.
#[derive(Debug, Parser)]
#[command(name = "testbench", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one WASI module
    Run(Box<RunArgs>),
    /// See it work: built-in tools run a small build that takes an hour of virtual time
    Demo(Format),
    /// Look at tapes: records of the programs that a session started
    #[command(subcommand)]
    Tape(TapeCommand),
    /// Tell which module or program a spawn would run in a session, and why; starts nothing. The
    /// exit status is 127 if it would not be found, 126 if it would be refused
    Which(Box<WhichArgs>),
    /// Compile the modules of a directory ahead of time, into the cache that all runs share
    Compile(CompileArgs),
    /// Make and look at toolchains: directories of `<program>.wasm` files
    #[command(subcommand)]
    Toolchain(ToolchainCommand),
    /// Print a script with which a shell completes the arguments of this program
    Completions {
        /// Shell to complete in
        #[arg(value_name = "SHELL")]
        shell: clap_complete::Shell,
    },
}

/// Arguments of `testbench run`. Directories, environment and `argv[0]` are spelled as for
/// `wasmtime run`, so that scripts written for it work unchanged.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Give the guest a real directory, which it may change: HOST or HOST::GUEST, with `:ro` at
    /// the end to forbid changes
    #[arg(long = "dir", value_name = "HOST[::GUEST][:ro]", value_parser = parse_mapping)]
    pub(crate) dirs: Vec<Mapping>,

    /// Give the guest a copy-on-write view of a real directory, which stays untouched; GUEST is
    /// `/` unless given
    #[arg(long = "overlay", value_name = "HOST[::GUEST]", value_parser = parse_overlay)]
    pub(crate) overlays: Vec<Mapping>,

    /// Write the diff of the overlay to FILE when the guest has ended: as JSON if it ends in
    /// `.json`, as a git patch if in `.patch`, else as text; `-` is stderr
    #[arg(long, value_name = "FILE", requires = "overlays")]
    pub(crate) diff_out: Option<PathBuf>,

    /// Set an environment variable of the guest; with a NAME alone, pass on this process's own
    #[arg(long = "env", value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<OsString>,

    /// Name that the guest sees as its own, `argv[0]`, instead of the module's file name
    #[arg(long, value_name = "NAME")]
    pub(crate) argv0: Option<OsString>,

    /// Pause the clock at this instant (RFC 3339), or `real` for the machine's clock
    #[arg(long, value_name = "TIME", default_value = "2000-01-01T00:00:00Z", value_parser = parse_clock)]
    pub(crate) clock: ClockChoice,

    /// Move the paused clock by this much (such as `1ms`) at each reading, so that a program that
    /// polls the clock in a loop comes to an end
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub(crate) tick: Option<Duration>,

    /// Seed of the guest's random bytes
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub(crate) seed: u64,

    /// End the guest after this many units of work (about one per wasm instruction)
    #[arg(long, value_name = "UNITS")]
    pub(crate) fuel: Option<u64>,

    /// Print status, virtual and real time in a last line on stderr
    #[arg(long)]
    pub(crate) summary: bool,

    /// The module to run, and the arguments it gets, verbatim
    #[arg(
        value_name = "MODULE [ARGS]",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) module_and_args: Vec<OsString>,
}

/// The form in which a subcommand prints its result.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Subcommands of `testbench tape`.
#[derive(Debug, Subcommand)]
pub(crate) enum TapeCommand {
    /// Print what is on a tape
    Show {
        /// The tape
        #[arg(value_name = "FILE")]
        tape: PathBuf,

        #[command(flatten)]
        format: Format,
    },
    /// List the differences between two tapes; exit status 1 if there are any
    Diff {
        /// The old tape
        #[arg(value_name = "A")]
        a: PathBuf,

        /// The new tape
        #[arg(value_name = "B")]
        b: PathBuf,

        /// Compare everything; all but sequence numbers and durations; or how files and spawns end
        #[arg(long, default_value = "semantic", value_parser = compare_mode())]
        mode: CompareMode,

        #[command(flatten)]
        format: Format,
    },
    /// Check that a tape is sound, or run its native programs as WebAssembly; exit status 1 if
    /// these give other results
    Verify(TapeVerifyArgs),
    /// Take spawns off a tape, and remove payload files that no spawn needs
    Prune(TapePruneArgs),
}

fn compare_mode() -> impl TypedValueParser<Value = CompareMode> {
    let names = PossibleValuesParser::new(["byte-identical", "semantic", "outcome"]);
    names.map(|name| match name.as_str() {
        "byte-identical" => CompareMode::ByteIdentical,
        "outcome" => CompareMode::Outcome,
        _ => CompareMode::Semantic,
    })
}

/// Arguments of `testbench tape verify`.
#[derive(Debug, Args)]
pub(crate) struct TapeVerifyArgs {
    /// The tape
    #[arg(value_name = "FILE")]
    pub(crate) tape: PathBuf,

    /// Run the recorded native programs from the `.wasm` files of DIR, or without `=DIR` from the
    /// built-in tools, and show the differences
    #[arg(
        long,
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = parse_toolchain
    )]
    pub(crate) against_toolchain: Option<ToolchainSource>,

    /// Directory that the tape was recorded over (by default an empty one); it is not written to
    #[arg(long, value_name = "DIR", requires = "against_toolchain")]
    pub(crate) overlay: Option<PathBuf>,

    /// Let messages on standard error differ
    #[arg(long, requires = "against_toolchain")]
    pub(crate) ignore_stderr: bool,

    #[command(flatten)]
    pub(crate) format: Format,
}

/// Arguments of `testbench tape prune`.
#[derive(Debug, Args)]
pub(crate) struct TapePruneArgs {
    /// The tape
    #[arg(value_name = "FILE")]
    pub(crate) tape: PathBuf,

    /// Take the spawn with this number off the tape
    #[arg(long = "spawn", value_name = "NUMBER")]
    pub(crate) spawns: Vec<u32>,

    /// Take all spawns of this program off the tape
    #[arg(long = "program", value_name = "NAME")]
    pub(crate) programs: Vec<String>,

    /// List what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) format: Format,
}

/// Arguments of `testbench which`: the settings of a session.
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// The program, as it would be called
    #[arg(value_name = "NAME")]
    pub(crate) program: OsString,

    /// The arguments of the call, which a tape distinguishes
    #[arg(value_name = "ARGS", last = true)]
    pub(crate) args: Vec<OsString>,

    /// Print every step of the decision
    #[arg(long)]
    pub(crate) explain: bool,

    /// Look for programs in the `.wasm` files of DIR, or without `=DIR` in the built-in tools; a
    /// further one is asked for programs that the earlier ones do not have
    #[arg(
        long = "toolchain",
        value_name = "DIR",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        value_parser = parse_toolchain
    )]
    pub(crate) toolchains: Vec<ToolchainSource>,

    /// The session has an overlay over DIR
    #[arg(long, value_name = "DIR")]
    pub(crate) overlay: Option<PathBuf>,

    /// Native programs get a copy of the overlay
    #[arg(long)]
    pub(crate) copy_files: bool,

    /// The session replays this tape
    #[arg(long, value_name = "FILE")]
    pub(crate) tape: Option<PathBuf>,

    /// Policy for one program: `not-found`, `deny`, `native`, `record`, `replay` (an error if
    /// the tape does not have it), `replay-or-record` or `replay-or-native`
    #[arg(long = "policy", value_name = "NAME=POLICY", value_parser = parse_program_policy)]
    pub(crate) policies: Vec<(String, Policy)>,

    /// Policy for programs that the toolchain does not have, as for `--policy`
    #[arg(long, value_name = "POLICY", default_value = "not-found")]
    pub(crate) unmatched: Policy,

    /// Policy of the call itself, as for `--policy`
    #[arg(long, value_name = "POLICY")]
    pub(crate) via: Option<Policy>,

    /// The PATH of the call
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<OsString>,

    #[command(flatten)]
    pub(crate) format: Format,
}

/// Arguments of `testbench compile`.
#[derive(Debug, Args)]
pub(crate) struct CompileArgs {
    /// The toolchain: every `.wasm` file directly in it is compiled
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,

    /// How many modules to compile at once; each takes all processors that are free
    #[arg(short = 'j', long, value_name = "N", default_value = "2")]
    pub(crate) jobs: NonZeroUsize,

    #[command(flatten)]
    pub(crate) format: Format,
}

/// Subcommands of `testbench toolchain`.
#[derive(Debug, Subcommand)]
pub(crate) enum ToolchainCommand {
    /// Write the built-in tools into a directory, which is created if needed
    Init {
        /// Directory to write to
        #[arg(value_name = "DIR")]
        dir: PathBuf,

        /// Replace files of the same names that hold something else
        #[arg(long)]
        force: bool,

        #[command(flatten)]
        format: Format,
    },
    /// List the programs of a toolchain
    List {
        /// The toolchain; by default the built-in tools
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,

        #[command(flatten)]
        format: Format,
    },
}

/// A directory of the host and the name by which the guest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) host: PathBuf,
    pub(crate) guest: String,
    pub(crate) read_only: bool,
}

/// The clock of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockChoice {
    Real,
    PausedAt(WallTime),
}

/// `HOST`, `HOST::GUEST`, either with `:ro`. A HOST alone is known to the guest by the same name.
fn parse_mapping(text: &str) -> Result<Mapping, String> {
    let (paths, read_only) = match text.strip_suffix(":ro") {
        // In `a::ro` the guest's name is `ro`.
        Some(paths) if !paths.ends_with(':') => (paths, true),
        _ => (text, false),
    };
    let mapping = parse_paths(paths, paths, "HOST[::GUEST][:ro]", "./project::/data:ro")?;
    Ok(Mapping { read_only, ..mapping })
}

/// `HOST` or `HOST::GUEST`; GUEST is `/` unless given.
fn parse_overlay(text: &str) -> Result<Mapping, String> {
    parse_paths(text, "/", "HOST[::GUEST]", "./project::/data")
}

fn parse_paths(text: &str, guest: &str, form: &str, example: &str) -> Result<Mapping, String> {
    let (host, guest) = text.split_once("::").unwrap_or((text, guest));
    if host.is_empty() || guest.is_empty() {
        return Err(format!("expected {form} with neither part empty, as in `{example}`"));
    }
    Ok(Mapping { host: host.into(), guest: guest.to_owned(), read_only: false })
}

/// `NAME=POLICY`, split at the last `=`.
fn parse_program_policy(text: &str) -> Result<(String, Policy), String> {
    let (program, policy) =
        text.rsplit_once('=').ok_or("expected NAME=POLICY, as in `git=native`")?;
    Ok((program.to_owned(), policy.parse().map_err(|e: UnknownPolicy| e.to_string())?))
}

fn parse_toolchain(text: &str) -> Result<ToolchainSource, std::convert::Infallible> {
    Ok(if text.is_empty() { Toolchain::builtin().into() } else { text.into() })
}

fn parse_clock(text: &str) -> Result<ClockChoice, String> {
    if text == "real" {
        return Ok(ClockChoice::Real);
    }
    let instant: jiff::Timestamp = text
        .parse()
        .map_err(|_| "expected `real` or an RFC 3339 instant, as in `2000-01-01T00:00:00Z`")?;
    Ok(ClockChoice::PausedAt(WallTime::from_unix_nanos(instant.as_nanosecond())))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed: Option<jiff::SignedDuration> = text.parse().ok();
    parsed
        .and_then(|d| Duration::try_from(d).ok())
        .ok_or_else(|| "expected a duration with its unit, as in `1ms` or `2s`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str]) -> Result<RunArgs, clap::Error> {
        let args = [&["testbench", "run"], args].concat();
        match Cli::try_parse_from(args)?.command {
            Command::Run(run) => Ok(*run),
            _ => unreachable!("the subcommand is given above"),
        }
    }

    #[test]
    fn everything_after_the_module_goes_to_the_guest() {
        let args = run(&["--seed", "7", "m.wasm", "--seed", "--", "-x", "--help"]).unwrap();
        assert_eq!(args.seed, 7);
        assert_eq!(args.module_and_args, ["m.wasm", "--seed", "--", "-x", "--help"]);
        let args = run(&["m.wasm", "--", "a"]).unwrap();
        assert_eq!(args.module_and_args, ["m.wasm", "--", "a"]);
    }

    #[test]
    fn a_double_dash_before_the_module_is_ours() {
        let args = run(&["--", "m.wasm", "--", "a"]).unwrap();
        assert_eq!(args.module_and_args, ["m.wasm", "--", "a"]);
    }

    #[test]
    fn directories_are_spelled_as_for_wasmtime() {
        let show = |text| parse_mapping(text).map(|m| (m.host, m.guest, m.read_only));
        let of = |host: &str, guest: &str, ro| Ok((PathBuf::from(host), guest.to_owned(), ro));
        assert_eq!(show("a"), of("a", "a", false));
        assert_eq!(show("a::/b"), of("a", "/b", false));
        assert_eq!(show("a::/b:ro"), of("a", "/b", true));
        assert_eq!(show("a:ro"), of("a", "a", true));
        assert_eq!(show("a::ro"), of("a", "ro", false));
        assert!(show("::/b").is_err() && show("a::").is_err() && show("").is_err());
    }

    #[test]
    fn a_tick_has_a_unit() {
        assert_eq!(parse_duration("1ms"), Ok(Duration::from_millis(1)));
        assert!(parse_duration("1").is_err() && parse_duration("-1s").is_err());
    }

    #[test]
    fn the_clock_is_real_or_an_instant() {
        let y2k = ClockChoice::PausedAt(WallTime::from_unix_secs(946_684_800));
        assert_eq!(parse_clock("2000-01-01T01:00:00+01:00"), Ok(y2k));
        assert_eq!(parse_clock("real"), Ok(ClockChoice::Real));
        assert!(parse_clock("yesterday").is_err());
    }
}
