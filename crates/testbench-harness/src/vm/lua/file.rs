//! The files that `io.open` and `io.popen` return.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::process::Output;

use mlua::{
    AnyUserData, IntoLuaMulti, Lua, LuaString, MetaMethod, MultiValue, Table, UserDataFields,
    UserDataMethods, UserDataRefMut, Value, Variadic,
};
use testbench_overlay::fs;

use super::os::{ended, parse, run, run_shown};
use super::{add, failed, os_string, raise_errors};
use crate::vm::{CommandLine, Handle};

/// How long the text of a number may be, as in Lua.
const NUMBER_BYTES_MAX: usize = 200;

/// How often a name for a temporary file is tried.
const TEMPORARY_NAMES_MAX: u32 = 1_000_000;

pub(super) fn register(lua: &Lua, native: &Table, handle: &Handle) -> mlua::Result<()> {
    add(lua, native, handle, "open", |lua, (path, mode): (LuaString, Option<String>)| {
        let options = options(mode.as_deref().unwrap_or("r"));
        let options = options.ok_or_else(|| invalid(2, "open", "invalid mode"))?;
        let path = os_string(&path);
        let file = options.open(&path).map_err(failed(Some(&path)))?;
        LuaFile::make(lua, path, Stream::Disk(BufReader::new(file)))
    })?;
    let on = handle.clone();
    add(lua, native, handle, "popen", move |lua, (text, mode): (String, Option<String>)| {
        let mode = mode.as_deref().unwrap_or("r");
        if !matches!(mode, "r" | "w") {
            return Err(invalid(2, "popen", "invalid mode"));
        }
        let line = parse(&text)?;
        let stream = if mode == "w" {
            Stream::Input { handle: on.clone(), line, written: Vec::new() }
        } else {
            let mut output = run(&line, Vec::new())?;
            Stream::Output { text: Cursor::new(std::mem::take(&mut output.stdout)), output }
        };
        LuaFile::make(lua, text.into(), stream)
    })?;
    add(lua, native, handle, "tmpfile", |lua, ()| {
        let (path, file) = temporary().map_err(failed(None))?;
        // A file without a name goes when it is closed.
        fs::remove_file(&path).map_err(failed(None))?;
        LuaFile::make(lua, path, Stream::Disk(BufReader::new(file)))
    })?;
    add(lua, native, handle, "tmpname", |_, ()| Ok(temporary()?.0))?;
    add(lua, native, handle, "file_type", |_, value: Value| {
        let file = value.as_userdata().and_then(|data| data.borrow::<LuaFile>().ok());
        Ok(file.map(|file| if file.stream.is_some() { "file" } else { "closed file" }))
    })?;
    let methods = lua.create_table()?;
    add(lua, &methods, handle, "read", read)?;
    add(lua, &methods, handle, "write", write)?;
    add(lua, &methods, handle, "seek", seek)?;
    add(lua, &methods, handle, "flush", |_, mut file: UserDataRefMut<LuaFile>| {
        if let Stream::Disk(file) = file.stream()? {
            // Written bytes are in the overlay already.
            file.get_mut().flush().map_err(failed(None))?;
        }
        Ok(true)
    })?;
    add(
        lua,
        &methods,
        handle,
        "setvbuf",
        |_, (mut file, _): (UserDataRefMut<LuaFile>, MultiValue)| file.stream().map(|_| true),
    )?;
    add(lua, &methods, handle, "close", |lua, mut file: UserDataRefMut<LuaFile>| file.close(lua))?;
    raise_errors(lua, &methods)?;
    native.set("methods", &methods)?;
    lua.register_userdata_type::<LuaFile>(|of| {
        of.add_meta_field(MetaMethod::Type, "FILE*");
        of.add_meta_field(MetaMethod::Index, methods);
        of.add_meta_method_mut(MetaMethod::Close, |lua, file, _: MultiValue| match file.stream {
            Some(_) => file.close(lua).map(|_| ()),
            None => Ok(()),
        });
        of.add_meta_method(MetaMethod::ToString, |_, file, ()| {
            Ok(match file.stream {
                Some(_) => format!("file ({})", file.name.display()),
                None => "file (closed)".to_owned(),
            })
        });
    })
}

fn invalid(argument: usize, function: &str, why: &str) -> mlua::Error {
    mlua::Error::runtime(format!("bad argument #{argument} to '{function}' ({why})"))
}

/// The options of a mode of C's `fopen`; `None` for any other text.
fn options(mode: &str) -> Option<fs::OpenOptions> {
    let (kind, rest) = mode.split_at_checked(1)?;
    let update = match rest {
        "" | "b" => false,
        "+" | "+b" => true,
        _ => return None,
    };
    let mut options = fs::OpenOptions::new();
    match kind {
        "r" => options.read(true).write(update),
        "w" => options.write(true).read(update).create(true).truncate(true),
        "a" => options.append(true).read(update).create(true),
        _ => return None,
    };
    Some(options)
}

/// A new file with a name that is the same in each run.
fn temporary() -> io::Result<(OsString, fs::File)> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    for n in 1..TEMPORARY_NAMES_MAX {
        let path = format!("lua_{n:06}");
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((path.into(), file?)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "all names of temporary files are taken"))
}

/// A file of a script.
struct LuaFile {
    /// The path or the command line.
    name: OsString,
    /// `None` once it is closed.
    stream: Option<Stream>,
}

enum Stream {
    Disk(BufReader<fs::File>),
    /// `io.popen(line, "r")`: the line has run.
    Output {
        text: Cursor<Vec<u8>>,
        output: Output,
    },
    /// `io.popen(line, "w")`: the line runs on the written bytes when this is closed.
    Input {
        handle: Handle,
        line: CommandLine,
        written: Vec<u8>,
    },
}

impl Stream {
    fn reader(&mut self) -> io::Result<&mut dyn BufRead> {
        match self {
            Stream::Disk(file) => Ok(file),
            Stream::Output { text, .. } => Ok(text),
            Stream::Input { .. } => Err(not_open_for("reading")),
        }
    }

    #[expect(
        clippy::seek_from_current,
        reason = "asking for the position keeps what was read ahead"
    )]
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Stream::Disk(file) => {
                // Forgets bytes that were read ahead, so that this lands at the script's position.
                file.seek(SeekFrom::Current(0))?;
                file.get_mut().write_all(bytes)
            }
            Stream::Output { .. } => Err(not_open_for("writing")),
            Stream::Input { written, .. } => written.write_all(bytes),
        }
    }

    /// Closes the stream. Returns the end of a command line.
    fn end(self) -> mlua::Result<Option<Output>> {
        match self {
            Stream::Disk(_) => Ok(None),
            Stream::Output { output, .. } => Ok(Some(output)),
            Stream::Input { handle, line, written } => {
                handle.within(|| run_shown(&line, written)).map(Some)
            }
        }
    }
}

fn not_open_for(what: &str) -> io::Error {
    io::Error::other(format!("the pipe is not open for {what}"))
}

impl LuaFile {
    fn make(lua: &Lua, name: OsString, stream: Stream) -> mlua::Result<AnyUserData> {
        lua.create_any_userdata(LuaFile { name, stream: Some(stream) })
    }

    fn stream(&mut self) -> mlua::Result<&mut Stream> {
        self.stream.as_mut().ok_or_else(closed)
    }

    fn close(&mut self, lua: &Lua) -> mlua::Result<MultiValue> {
        match self.stream.take().ok_or_else(closed)?.end()? {
            Some(output) => ended(lua, &output),
            None => true.into_lua_multi(lua),
        }
    }
}

/// As Lua does with a pipe that was not closed when it is collected.
impl Drop for LuaFile {
    fn drop(&mut self) {
        // No script is left that could see a failure.
        let _ = self.stream.take().map(Stream::end);
    }
}

fn closed() -> mlua::Error {
    mlua::Error::runtime("attempt to use a closed file")
}

fn write(lua: &Lua, (file, values): (AnyUserData, Variadic<Value>)) -> mlua::Result<AnyUserData> {
    let mut bytes = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let text = lua.coerce_string(value.clone())?.ok_or_else(|| {
            let why = format!("string expected, got {}", value.type_name());
            invalid(at + 1, "write", &why)
        })?;
        bytes.extend_from_slice(&text.as_bytes());
    }
    file.borrow_mut::<LuaFile>()?.stream()?.write(&bytes).map_err(failed(None))?;
    Ok(file)
}

fn seek(
    _: &Lua,
    (mut file, whence, offset): (UserDataRefMut<LuaFile>, Option<String>, Option<i64>),
) -> mlua::Result<u64> {
    let offset = offset.unwrap_or(0);
    let Stream::Disk(file) = file.stream()? else {
        let error = io::Error::new(io::ErrorKind::NotSeekable, "Illegal seek");
        return Err(failed(None)(error));
    };
    let to = match whence.as_deref().unwrap_or("cur") {
        "set" => SeekFrom::Start(u64::try_from(offset).map_err(|_| {
            failed(None)(io::Error::new(io::ErrorKind::InvalidInput, "Invalid argument"))
        })?),
        "cur" => SeekFrom::Current(offset),
        "end" => SeekFrom::End(offset),
        other => return Err(invalid(1, "seek", &format!("invalid option '{other}'"))),
    };
    file.seek(to).map_err(failed(None))
}

/// A format of `read`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    All,
    Line {
        keeps_end: bool,
    },
    Number,
    /// Up to so many bytes.
    Count(u64),
}

impl Format {
    fn of(lua: &Lua, value: &Value) -> mlua::Result<Option<Format>> {
        if let Value::Integer(_) | Value::Number(_) = value {
            let count = lua.coerce_integer(value.clone())?;
            return Ok(count.and_then(|count| u64::try_from(count).ok()).map(Format::Count));
        }
        let text = value.as_string().map(|text| text.to_string_lossy()).unwrap_or_default();
        // Older versions of Lua wrote a star before the letter.
        Ok(match text.trim_start_matches('*').chars().next() {
            Some('a') => Some(Format::All),
            Some('l') => Some(Format::Line { keeps_end: false }),
            Some('L') => Some(Format::Line { keeps_end: true }),
            Some('n') => Some(Format::Number),
            _ => None,
        })
    }

    /// Reads the text that the format names; `None` if there is none.
    fn read(self, from: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match self {
            Format::All => _ = from.read_to_end(&mut bytes)?,
            Format::Number => bytes = number(from)?.into_bytes(),
            _ if from.fill_buf()?.is_empty() => return Ok(None),
            Format::Count(count) => _ = from.take(count).read_to_end(&mut bytes)?,
            Format::Line { keeps_end } => {
                from.read_until(b'\n', &mut bytes)?;
                bytes.pop_if(|last| *last == b'\n' && !keeps_end);
            }
        }
        Ok(Some(bytes))
    }
}

/// Reads the values that the formats name. The first that is not there is `nil` and the last.
fn read(
    lua: &Lua,
    (mut file, formats): (UserDataRefMut<LuaFile>, Variadic<Value>),
) -> mlua::Result<MultiValue> {
    let stream = file.stream()?;
    let formats = formats.iter().enumerate().map(|(at, value)| {
        Format::of(lua, value)?.ok_or_else(|| invalid(at + 1, "read", "invalid format"))
    });
    let mut formats = formats.collect::<mlua::Result<Vec<Format>>>()?;
    if formats.is_empty() {
        formats.push(Format::Line { keeps_end: false });
    }
    let mut values = MultiValue::new();
    for format in formats {
        let text = stream.reader().and_then(|from| format.read(from)).map_err(failed(None))?;
        let value = match text.map(|text| lua.create_string(text)).transpose()? {
            Some(text) if format == Format::Number => number_of(lua, text)?,
            text => text.map_or(Value::Nil, Value::String),
        };
        let is_last = value.is_nil();
        values.push_back(value);
        if is_last {
            break;
        }
    }
    Ok(values)
}

/// The text of a number as Lua writes them, after white space.
fn number(from: &mut dyn BufRead) -> io::Result<String> {
    let mut text = String::new();
    let mut hexadecimal = false;
    while let Some(&byte) = from.fill_buf()?.first() {
        let c = char::from(byte.to_ascii_lowercase());
        let after_exponent = text.ends_with(if hexadecimal { 'p' } else { 'e' });
        let fits = match c {
            _ if text.len() >= NUMBER_BYTES_MAX => false,
            c if c.is_ascii_whitespace() || c == '\u{b}' => text.is_empty(),
            '+' | '-' => text.is_empty() || after_exponent,
            'x' => matches!(text.as_str(), "0" | "+0" | "-0"),
            '.' => !text.contains(['.', 'p']) && (hexadecimal || !text.contains('e')),
            'p' => hexadecimal && !text.contains('p'),
            'e' if !hexadecimal => !text.contains('e'),
            c => c.is_ascii_digit() || hexadecimal && !text.contains('p') && c.is_ascii_hexdigit(),
        };
        if !fits {
            break;
        }
        from.consume(1);
        hexadecimal |= c == 'x';
        if !c.is_ascii_whitespace() && c != '\u{b}' {
            text.push(c);
        }
    }
    Ok(text)
}

/// The number of such a text, an integer if it is written as one; `nil` for any other text.
fn number_of(lua: &Lua, text: LuaString) -> mlua::Result<Value> {
    let shown = text.to_string_lossy();
    let is_whole = !shown.contains(['.', 'p']) && (shown.contains('x') || !shown.contains('e'));
    let text = Value::String(text);
    if is_whole && let Some(integer) = lua.coerce_integer(text.clone())? {
        return Ok(Value::Integer(integer));
    }
    Ok(lua.coerce_number(text)?.map_or(Value::Nil, Value::Number))
}
