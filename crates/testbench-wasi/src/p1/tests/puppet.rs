//! A guest that makes the calls it is told to make, and shows its memory afterwards.

use std::fmt::Write;
use std::sync::Arc;

use testbench_overlay::{Errno, Fs, MemoryDir};

use crate::p1::signatures;
use crate::{Exit, Finished, GuestSpec, Module, Mount, run};

const PAGE_BYTES: usize = 65_536;
/// Where the errnos of the calls are kept, and the one buffer that shows the memory at the end.
const LOG_AT: u32 = 60_000;

/// A script of calls and what they work on. The memory is one page.
pub(super) struct Puppet {
    module: &'static str,
    data: String,
    body: String,
    imports: Vec<&'static str>,
    calls: u32,
    free: u32,
}

/// Where something lies in the guest's memory, and its length.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// The result of the script.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) finished: Finished,
    memory: Vec<u8>,
    calls: u32,
}

impl Puppet {
    pub(super) fn new() -> Self {
        Puppet::importing("wasi_snapshot_preview1")
    }

    pub(super) fn importing(module: &'static str) -> Self {
        Puppet {
            module,
            data: String::new(),
            body: String::new(),
            imports: Vec::new(),
            calls: 0,
            free: 1024,
        }
    }

    /// Puts bytes into memory.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> At {
        let place = self.room(bytes.len());
        let hex: String = bytes.iter().map(|b| format!("\\{b:02x}")).collect();
        writeln!(self.data, "(data (i32.const {}) \"{hex}\")", place.at).unwrap();
        place
    }

    /// Reserves zeroed bytes.
    pub(super) fn room(&mut self, len: usize) -> At {
        let at = self.free.next_multiple_of(8);
        self.free = at + len as u32;
        assert!(self.free < LOG_AT, "the page is full");
        At { at: at.into(), len: len as u64 }
    }

    /// An array of buffers, for reading or writing.
    pub(super) fn iovs(&mut self, bufs: &[At]) -> At {
        let words = bufs.iter().flat_map(|buf| [buf.at as u32, buf.len as u32]);
        let bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        At { at: self.bytes(&bytes).at, len: bufs.len() as u64 }
    }

    /// Calls a function. Returns the number under which [`Done::errno`] knows the call.
    pub(super) fn call(&mut self, name: &'static str, args: &[u64]) -> u32 {
        let types = signature(name);
        assert_eq!(types.len(), args.len(), "arguments of {name}");
        if !self.imports.contains(&name) {
            self.imports.push(name);
        }
        let args = args.iter().zip(types).map(|(arg, ty)| match wasm_type(ty) {
            "i32" => format!("(i32.const {})", u32::try_from(*arg).expect("32 bits")),
            _ => format!("(i64.const {arg})"),
        });
        let args: String = args.collect();
        let log = LOG_AT + 16 + 4 * self.calls;
        writeln!(self.body, "(i32.store (i32.const {log}) (call ${name} {args}))").unwrap();
        self.calls += 1;
        self.calls - 1
    }

    /// Opens `path` below descriptor 3 with all rights but those given; returns the call.
    pub(super) fn open(&mut self, path: &str, oflags: u64, rights: u64, fdflags: u64) -> u32 {
        let path = self.bytes(path.as_bytes());
        let fd = self.room(4);
        self.call("path_open", &[3, 0, path.at, path.len, oflags, rights, !0 >> 34, fdflags, fd.at])
    }

    pub(super) fn wat(&self) -> String {
        let Puppet { module, data, body, .. } = self;
        let mut imports = String::new();
        for name in self.imports.iter().filter(|&&name| name != "fd_write") {
            writeln!(imports, "{}", import(module, name)).unwrap();
        }
        let fd_write = import(module, "fd_write");
        format!(
            r#"(module
                {imports}{fd_write}
                (memory (export "memory") 1 1)
                {data}
                (data (i32.const {LOG_AT}) "\00\00\00\00\00\00\01\00")
                (func (export "_start")
                  {body}
                  (drop (call $fd_write
                    (i32.const 2) (i32.const {LOG_AT}) (i32.const 1) (i32.const {shown})))))"#,
            shown = LOG_AT + 8,
        )
    }

    /// Runs it on an empty tree in memory.
    pub(super) fn run(&self) -> Done {
        let files = MemoryDir::builder().build().unwrap();
        self.run_on(Arc::new(files), |spec| spec)
    }

    /// Runs it on `files`, with whatever `with` adds. Its memory comes out on stderr.
    pub(super) fn run_on(
        &self,
        files: Arc<dyn Fs>,
        with: impl FnOnce(GuestSpec) -> GuestSpec,
    ) -> Done {
        let wasm = wat::parse_str(self.wat()).unwrap();
        let module = Module::from_bytes("puppet", wasm).unwrap();
        let spec = GuestSpec::new(module).mount(Mount::new(files, "/"));
        let finished = run(with(spec)).unwrap();
        let memory = finished.stderr.clone();
        Done { finished, memory, calls: self.calls }
    }
}

impl Done {
    /// The errno of the call; panics if the guest did not come to its end.
    pub(super) fn errno(&self, call: u32) -> u32 {
        assert!(call < self.calls);
        assert!(matches!(self.finished.exit, Exit::Code(0)), "{}", self.finished.exit);
        self.u32(At { at: u64::from(LOG_AT + 16 + 4 * call), len: 4 })
    }

    /// The errnos of all calls.
    pub(super) fn errnos(&self) -> Vec<u32> {
        (0..self.calls).map(|call| self.errno(call)).collect()
    }

    pub(super) fn bytes(&self, place: At) -> &[u8] {
        assert_eq!(self.memory.len(), PAGE_BYTES, "{}", self.finished.exit);
        &self.memory[place.at as usize..][..place.len as usize]
    }

    pub(super) fn u32(&self, place: At) -> u32 {
        u32::from_le_bytes(self.bytes(At { len: 4, ..place }).try_into().unwrap())
    }

    pub(super) fn u64(&self, place: At) -> u64 {
        u64::from_le_bytes(self.bytes(At { len: 8, ..place }).try_into().unwrap())
    }
}

impl At {
    pub(super) fn offset(self, by: u64) -> At {
        At { at: self.at + by, len: self.len.saturating_sub(by) }
    }
}

/// The number of an errno, to compare with.
pub(super) fn number(errno: Errno) -> u32 {
    crate::p1::errno::number(errno).into()
}

/// The types that wasm passes to a function.
pub(super) fn signature(name: &str) -> Vec<&'static str> {
    let found = signatures().into_iter().find(|(n, _)| *n == name);
    found.unwrap_or_else(|| panic!("no function {name}")).1
}

pub(super) fn wasm_type(ty: &str) -> &'static str {
    match ty {
        "u32" => "i32",
        "u64" | "i64" => "i64",
        other => panic!("{other} is passed as what?"),
    }
}

pub(super) fn import(module: &str, name: &str) -> String {
    let params: Vec<&str> = signature(name).iter().map(|ty| wasm_type(ty)).collect();
    let params = params.join(" ");
    format!(r#"(import "{module}" "{name}" (func ${name} (param {params}) (result i32)))"#)
}
