//! The files that `io.open` and `io.popen` answer.

use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::process::Output;

use mlua::{
    AnyUserData, IntoLuaMulti, Lua, MetaMethod, MultiValue, Table, UserData, UserDataMethods,
    Value, Variadic,
};
use testbench_overlay::fs;

use super::os::{done, ended, run};
use super::{add, failed};
use crate::vm::Handle;

/// How long the text of a number may be, as in Lua.
const NUMBER_BYTES_MAX: usize = 200;

/// How often a name for a temporary file is tried.
const TEMPORARY_NAMES_MAX: u32 = 1_000_000;

pub(super) fn register(lua: &Lua, native: &Table, handle: &Handle) -> mlua::Result<()> {
    let on = handle.clone();
    add(lua, native, handle, "open", move |lua, (path, mode): (String, Option<String>)| {
        let mode = mode.as_deref().unwrap_or("r");
        let Some(options) = options(mode) else {
            return Err(mlua::Error::runtime(format!(
                "bad argument #2 to 'open' (invalid mode `{mode}`)"
            )));
        };
        match options.open(&path) {
            Ok(file) => LuaFile::new(&on, path, Stream::disk(file)).into_lua_multi(lua),
            Err(error) => failed(lua, Some(&path), &error),
        }
    })?;
    let on = handle.clone();
    add(lua, native, handle, "popen", move |lua, (line, mode): (String, Option<String>)| {
        let stream = match mode.as_deref().unwrap_or("r") {
            "r" => {
                let output = run(&line, None)?;
                io::stderr().write_all(&output.stderr)?;
                Stream::Output { text: BufReader::new(Cursor::new(output.stdout.clone())), output }
            }
            "w" => Stream::Input { written: Vec::new() },
            mode => {
                let text = format!("bad argument #2 to 'popen' (invalid mode `{mode}`)");
                return Err(mlua::Error::runtime(text));
            }
        };
        LuaFile::new(&on, line, stream).into_lua_multi(lua)
    })?;
    let on = handle.clone();
    add(lua, native, handle, "tmpfile", move |lua, ()| match temporary() {
        Ok((path, file)) => {
            // What has no name goes when it is closed.
            let removed = fs::remove_file(&path);
            match removed {
                Ok(()) => LuaFile::new(&on, path, Stream::disk(file)).into_lua_multi(lua),
                Err(error) => failed(lua, Some(&path), &error),
            }
        }
        Err(error) => failed(lua, None, &error),
    })?;
    add(lua, native, handle, "tmpname", |_, ()| {
        temporary().map(|(path, _)| path).map_err(mlua::Error::external)
    })?;
    add(lua, native, handle, "file_type", |_, value: Value| {
        let Value::UserData(data) = value else { return Ok(None) };
        Ok(data.borrow::<LuaFile>().ok().map(|file| match file.stream {
            Some(_) => "file",
            None => "closed file",
        }))
    })
}

/// What a mode of C's `fopen` means; `None` if it is none.
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
fn temporary() -> io::Result<(String, fs::File)> {
    let mut options = fs::OpenOptions::new();
    options.read(true).write(true).create_new(true);
    for n in 1..TEMPORARY_NAMES_MAX {
        let path = format!("lua_{n:06}");
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => return Ok((path, file?)),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "all names of temporary files are taken"))
}

/// A file as Lua sees it.
struct LuaFile {
    handle: Handle,
    /// The path or the command line.
    name: String,
    /// `None` once it is closed.
    stream: Option<Stream>,
}

enum Stream {
    Disk(BufReader<fs::File>),
    /// `io.popen(line, "r")`: the line has run.
    Output {
        text: BufReader<Cursor<Vec<u8>>>,
        output: Output,
    },
    /// `io.popen(line, "w")`: the line will run on what was written.
    Input {
        written: Vec<u8>,
    },
}

impl Stream {
    fn disk(file: fs::File) -> Stream {
        Stream::Disk(BufReader::new(file))
    }

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
                // Forgets what was read ahead, so that this lands where the script is.
                file.seek(SeekFrom::Current(0))?;
                file.get_mut().write_all(bytes)
            }
            Stream::Output { .. } => Err(not_open_for("writing")),
            Stream::Input { written } => written.write_all(bytes),
        }
    }
}

fn not_open_for(what: &str) -> io::Error {
    io::Error::other(format!("the pipe is not open for {what}"))
}

impl LuaFile {
    fn new(handle: &Handle, name: String, stream: Stream) -> LuaFile {
        LuaFile { handle: handle.clone(), name, stream: Some(stream) }
    }

    /// Runs `f` on the open stream, in the session.
    fn with<R>(&mut self, f: impl FnOnce(&mut Stream) -> mlua::Result<R>) -> mlua::Result<R> {
        let stream = self
            .stream
            .as_mut()
            .ok_or_else(|| mlua::Error::runtime("attempt to use a closed file"))?;
        self.handle.within(|| f(stream))
    }

    fn close(&mut self, lua: &Lua) -> mlua::Result<MultiValue> {
        self.with(|_| Ok(()))?;
        let name = self.name.clone();
        match self.stream.take() {
            Some(Stream::Output { output, .. }) => ended(lua, &output),
            Some(Stream::Input { written }) => {
                let output = self.handle.within(|| run(&name, Some(written)))?;
                io::stderr().write_all(&output.stderr)?;
                io::stdout().write_all(&output.stdout)?;
                ended(lua, &output)
            }
            Some(Stream::Disk(_)) | None => true.into_lua_multi(lua),
        }
    }
}

impl UserData for LuaFile {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method_mut("read", |lua, file, formats: Variadic<Value>| {
            file.with(|stream| read(lua, stream, &formats))
        });
        methods.add_function("write", |lua, (file, values): (AnyUserData, Variadic<Value>)| {
            let mut bytes = Vec::new();
            for value in values.iter() {
                let text = lua.coerce_string(value.clone())?.ok_or_else(|| {
                    let kind = value.type_name();
                    mlua::Error::runtime(format!(
                        "bad argument to 'write' (string expected, got {kind})"
                    ))
                })?;
                bytes.extend_from_slice(&text.as_bytes());
            }
            let written = file.borrow_mut::<LuaFile>()?.with(|stream| Ok(stream.write(&bytes)))?;
            match written {
                Ok(()) => file.into_lua_multi(lua),
                Err(error) => failed(lua, None, &error),
            }
        });
        methods.add_function("lines", |lua, (file, formats): (AnyUserData, Variadic<Value>)| {
            file.borrow_mut::<LuaFile>()?.with(|_| Ok(()))?;
            let formats: Vec<Value> = formats.into_iter().collect();
            lua.create_function(move |lua, _: MultiValue| {
                file.borrow_mut::<LuaFile>()?.with(|stream| read(lua, stream, &formats))
            })
        });
        methods.add_method_mut(
            "seek",
            |lua, file, (whence, offset): (Option<String>, Option<i64>)| {
                file.with(|stream| seek(lua, stream, whence.as_deref(), offset.unwrap_or(0)))
            },
        );
        methods.add_method_mut("flush", |lua, file, ()| {
            let flushed = file.with(|stream| match stream {
                // Whatever was written is in the overlay already.
                Stream::Disk(file) => Ok(file.get_mut().flush()),
                Stream::Output { .. } | Stream::Input { .. } => Ok(Ok(())),
            })?;
            done(lua, &file.name, flushed)
        });
        methods.add_method_mut("setvbuf", |_, file, _: MultiValue| file.with(|_| Ok(true)));
        methods.add_method_mut("close", |lua, file, ()| file.close(lua));
        methods.add_meta_method_mut(MetaMethod::Close, |lua, file, _: MultiValue| {
            match file.stream {
                Some(_) => file.close(lua).map(|_| ()),
                None => Ok(()),
            }
        });
        methods.add_meta_method(MetaMethod::ToString, |_, file, ()| {
            Ok(match file.stream {
                Some(_) => format!("file ({})", file.name),
                None => "file (closed)".to_owned(),
            })
        });
    }
}

fn seek(
    lua: &Lua,
    stream: &mut Stream,
    whence: Option<&str>,
    offset: i64,
) -> mlua::Result<MultiValue> {
    let Stream::Disk(file) = stream else {
        let error = io::Error::new(io::ErrorKind::NotSeekable, "Illegal seek");
        return failed(lua, None, &error);
    };
    let to = match whence.unwrap_or("cur") {
        "set" => match u64::try_from(offset) {
            Ok(offset) => SeekFrom::Start(offset),
            Err(_) => {
                let error = io::Error::new(io::ErrorKind::InvalidInput, "Invalid argument");
                return failed(lua, None, &error);
            }
        },
        "cur" => SeekFrom::Current(offset),
        "end" => SeekFrom::End(offset),
        other => {
            let text = format!("bad argument #1 to 'seek' (invalid option '{other}')");
            return Err(mlua::Error::runtime(text));
        }
    };
    match file.seek(to) {
        Ok(position) => i64::try_from(position).map_err(mlua::Error::external)?.into_lua_multi(lua),
        Err(error) => failed(lua, None, &error),
    }
}

/// Reads what the formats name; the first that finds nothing is `nil` and the last.
fn read(lua: &Lua, stream: &mut Stream, formats: &[Value]) -> mlua::Result<MultiValue> {
    let line = [Value::String(lua.create_string("l")?)];
    let formats = if formats.is_empty() { &line } else { formats };
    let mut values = MultiValue::new();
    for format in formats {
        let value = match stream.reader().and_then(|from| one(lua, from, format)) {
            Ok(value) => value?,
            Err(error) => return failed(lua, None, &error),
        };
        let nothing = value.is_nil();
        values.push_back(value);
        if nothing {
            break;
        }
    }
    Ok(values)
}

/// The outer result is the file's, the inner one the script's.
fn one(lua: &Lua, from: &mut dyn BufRead, format: &Value) -> io::Result<mlua::Result<Value>> {
    if let Value::Integer(_) | Value::Number(_) = format {
        return count(lua, from, format);
    }
    let Some(format) = format.as_string().map(|text| text.to_string_lossy()) else {
        return Ok(Err(mlua::Error::runtime("bad argument to 'read' (invalid format)")));
    };
    let mut bytes = Vec::new();
    // Older versions of Lua wrote a star before the letter.
    match format.trim_start_matches('*').chars().next() {
        Some('a') => {
            from.read_to_end(&mut bytes)?;
            Ok(lua.create_string(bytes).map(Value::String))
        }
        Some(letter @ ('l' | 'L')) => {
            from.read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() {
                return Ok(Ok(Value::Nil));
            }
            if letter == 'l' && bytes.last() == Some(&b'\n') {
                bytes.pop();
            }
            Ok(lua.create_string(bytes).map(Value::String))
        }
        Some('n') => number(lua, from),
        _ => Ok(Err(mlua::Error::runtime("bad argument to 'read' (invalid format)"))),
    }
}

/// Up to so many bytes; `nil` at the end of the file.
fn count(lua: &Lua, from: &mut dyn BufRead, format: &Value) -> io::Result<mlua::Result<Value>> {
    let count = match lua.coerce_integer(format.clone()) {
        Ok(count) => count.and_then(|count| u64::try_from(count).ok()),
        Err(error) => return Ok(Err(error)),
    };
    let Some(count) = count else {
        return Ok(Err(mlua::Error::runtime("bad argument to 'read' (invalid count)")));
    };
    if from.fill_buf()?.is_empty() {
        return Ok(Ok(Value::Nil));
    }
    let mut bytes = Vec::new();
    from.take(count).read_to_end(&mut bytes)?;
    Ok(lua.create_string(bytes).map(Value::String))
}

/// A number as Lua writes them, after white space; what can be part of one is consumed.
fn number(lua: &Lua, from: &mut dyn BufRead) -> io::Result<mlua::Result<Value>> {
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
    let whole = !text.contains(['.', 'p']) && (hexadecimal || !text.contains('e'));
    let as_lua = || -> mlua::Result<Value> {
        let value = Value::String(lua.create_string(&text)?);
        if whole && let Some(integer) = lua.coerce_integer(value.clone())? {
            return Ok(Value::Integer(integer));
        }
        Ok(lua.coerce_number(value)?.map_or(Value::Nil, Value::Number))
    };
    Ok(as_lua())
}
