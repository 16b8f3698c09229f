//! Bytes and JSON in and out.
//!
//! A plugin that is called this way exports its memory and three functions:
//!
//! ```text
//! alloc(size: i32) -> i32                                    memory for the bytes of a call
//! free(pointer: i32, size: i32)                              frees it, and the output's
//! invoke(method, method_len, input, input_len: i32) -> i64   pointer << 32 | length of the output
//! ```
//!
//! The caller frees everything: output, input and method, in this order, also when the output is wrong.
//! After a trap there is nothing to free: the whole memory goes with the instance. Empty bytes are
//! passed as address 0, without memory. The output may lie in the memory of the input or the method,
//! which is freed once.
//!
//! Every address is a `u32` and checked before a byte moves.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wasmtime::{Memory, TypedFunc, WasmParams, WasmResults};

use super::life::{Life, Trouble, ended, no_export};
use super::spec::Names;
use super::{Plugin, PluginError};
use crate::memory::{Fault, MemoryBytes};

impl Plugin {
    /// Calls `method` with `input` as JSON and returns its output, parsed as JSON.
    ///
    /// The module's part is described at [`PluginSpec::invoke_export`](crate::PluginSpec::invoke_export)
    /// and its neighbours.
    ///
    /// # Errors
    ///
    /// All of [`PluginError`]. After every error the buffers of the call are freed.
    ///
    /// # Panics
    ///
    /// As [`Plugin::call`].
    ///
    /// ```no_run
    /// use serde_json::{Value, json};
    /// use testbench_wasi::Plugin;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut plugin = Plugin::from_path("words.wasm")?;
    /// let answer: Value = plugin.call_json("count", &json!({ "text": "one two" }))?;
    /// assert_eq!(answer["words"], 2);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call_json<I, O>(&mut self, method: &str, input: &I) -> Result<O, PluginError>
    where
        I: Serialize + ?Sized,
        O: DeserializeOwned + Send,
    {
        let plugin = self.name().to_owned();
        let input = match serde_json::to_vec(input) {
            Ok(input) => input,
            Err(source) => {
                return Err(PluginError::Encode { plugin, method: method.to_owned(), source });
            }
        };
        self.exchange(method, &input, |answer| decode(&plugin, method, answer))
    }

    /// Calls `method` with the bytes `input` and returns its output, for plugins that do not use JSON.
    ///
    /// # Errors
    ///
    /// As [`Plugin::call_json`].
    ///
    /// # Panics
    ///
    /// As [`Plugin::call`].
    pub fn call_bytes(&mut self, method: &str, input: &[u8]) -> Result<Vec<u8>, PluginError> {
        self.exchange(method, input, |answer| Ok(answer.to_vec()))
    }

    fn exchange<O: Send>(
        &mut self,
        method: &str,
        input: &[u8],
        take: impl FnOnce(&[u8]) -> Result<O, PluginError> + Send,
    ) -> Result<O, PluginError> {
        let names = Arc::clone(self.names());
        let label = names.invoke[0].clone();
        self.during(&label, |life| {
            let convention = match life.convention.take() {
                Some(convention) => convention,
                None => Convention::find(life, &names)?,
            };
            let answered = Exchange { life, convention: &convention }.call(method, input, take);
            life.convention = Some(convention);
            answered
        })
    }
}

/// A plugin's functions for bytes, with the names under which it exports them.
pub(super) struct Convention {
    alloc: Named<TypedFunc<u32, u32>>,
    free: Named<TypedFunc<(u32, u32), ()>>,
    invoke: Named<TypedFunc<(u32, u32, u32, u32), u64>>,
    memory: Memory,
}

struct Named<F> {
    name: String,
    function: F,
}

impl<P: WasmParams, R: WasmResults> Named<TypedFunc<P, R>> {
    fn call(&self, life: &mut Life, params: P) -> Result<R, Trouble> {
        let called = self.function.call(&mut life.live.store, params);
        called.map_err(|error| ended(&self.name, error))
    }
}

impl Convention {
    fn find(life: &mut Life, names: &Names) -> Result<Self, PluginError> {
        let alloc = exported(life, &names.alloc)?;
        let free = exported(life, &names.free)?;
        let invoke = exported(life, &names.invoke)?;
        let memory = life.live.instance.get_memory(&mut life.live.store, "memory");
        let no_memory = || PluginError::NoMemory { plugin: life.process().name.clone() };
        let memory = memory.ok_or_else(no_memory)?;
        let convention = Convention {
            alloc: Named { function: life.function(&alloc)?, name: alloc },
            free: Named { function: life.function(&free)?, name: free },
            invoke: Named { function: life.function(&invoke)?, name: invoke },
            memory,
        };
        Ok(convention)
    }
}

/// The first of the candidates that is exported.
fn exported(life: &Life, names: &[String]) -> Result<String, PluginError> {
    let module = life.live.instance.module(&life.live.store);
    let found = names.iter().find(|name| module.get_export(name).is_some());
    found.cloned().ok_or_else(|| {
        let plugin = life.process().name.clone();
        no_export(plugin, &names[0], module)
    })
}

/// Bytes in the plugin's memory.
#[derive(Clone, Copy)]
struct Buffer {
    at: u32,
    len: u32,
}

impl Buffer {
    fn lies_in(self, other: Buffer) -> bool {
        let end = |buffer: Buffer| u64::from(buffer.at) + u64::from(buffer.len);
        self.at >= other.at && end(self) <= end(other)
    }
}

/// One call.
struct Exchange<'a> {
    life: &'a mut Life,
    convention: &'a Convention,
}

impl Exchange<'_> {
    fn call<O>(
        &mut self,
        method: &str,
        input: &[u8],
        take: impl FnOnce(&[u8]) -> Result<O, PluginError>,
    ) -> Result<O, Trouble> {
        let method_at = self.put(method.as_bytes())?;
        let answered = self.put(input).and_then(|input_at| {
            let answered = self.invoke(method, method_at, input_at, take);
            self.then_free(input_at, answered)
        });
        self.then_free(method_at, answered)
    }

    fn invoke<O>(
        &mut self,
        method: &str,
        method_at: Buffer,
        input_at: Buffer,
        take: impl FnOnce(&[u8]) -> Result<O, PluginError>,
    ) -> Result<O, Trouble> {
        let invoke = &self.convention.invoke;
        let params = (method_at.at, method_at.len, input_at.at, input_at.len);
        let packed = invoke.call(self.life, params)?;
        // The halves of the number: neither can be lost.
        let answer = Buffer { at: (packed >> 32) as u32, len: packed as u32 };
        let bytes_max = self.life.process().limits.output_bytes_max;
        let taken = if u64::from(answer.len) > bytes_max {
            // An output outside of the memory is the first error.
            self.within(&invoke.name, answer, |_| Ok(()))?;
            let (plugin, method) = (self.plugin(), method.to_owned());
            Err(PluginError::OutputTooLong { plugin, method, bytes: answer.len, bytes_max })
        } else {
            self.within(&invoke.name, answer, |bytes| Ok(take(bytes)))?
        };
        let taken = taken.map_err(Trouble::from);
        match answer.lies_in(input_at) || answer.lies_in(method_at) {
            true => taken,
            false => self.then_free(answer, taken),
        }
    }

    /// Copies `bytes` into memory that the plugin allocates.
    fn put(&mut self, bytes: &[u8]) -> Result<Buffer, Trouble> {
        let len = u32::try_from(bytes.len())
            .map_err(|_| PluginError::InputTooLong { plugin: self.plugin(), bytes: bytes.len() })?;
        if len == 0 {
            return Ok(Buffer { at: 0, len });
        }
        let alloc = &self.convention.alloc;
        let at = alloc.call(self.life, len)?;
        if at == 0 {
            let (plugin, alloc) = (self.plugin(), alloc.name.clone());
            return Err(PluginError::OutOfMemory { plugin, alloc, bytes: len }.into());
        }
        self.memory().put(at, bytes).map_err(|fault| self.bad_pointer(&alloc.name, fault))?;
        Ok(Buffer { at, len })
    }

    /// Runs `f` on the bytes of a buffer that `function` returned.
    fn within<O>(
        &mut self,
        function: &str,
        buffer: Buffer,
        f: impl FnOnce(&[u8]) -> Result<O, PluginError>,
    ) -> Result<O, Trouble> {
        let Buffer { at, len } = buffer;
        let lent = self.memory().lend(at, len).map(f);
        Ok(lent.map_err(|fault| self.bad_pointer(function, fault))??)
    }

    /// Frees a buffer after its use, unless its memory went with the instance. The first error counts.
    fn then_free<O>(&mut self, buffer: Buffer, used: Result<O, Trouble>) -> Result<O, Trouble> {
        if buffer.at == 0 || matches!(used, Err(Trouble::Ended { .. })) {
            return used;
        }
        // If this fails, the instance is gone, and no other error matters.
        self.convention.free.call(self.life, (buffer.at, buffer.len))?;
        used
    }

    fn memory(&mut self) -> MemoryBytes<'_> {
        MemoryBytes(self.convention.memory.data_mut(&mut self.life.live.store))
    }

    fn bad_pointer(&self, function: &str, fault: Fault) -> Trouble {
        let Fault { address, bytes, memory_bytes } = fault;
        let (plugin, function) = (self.plugin(), function.to_owned());
        PluginError::BadPointer { plugin, function, address, bytes, memory_bytes }.into()
    }

    fn plugin(&self) -> String {
        self.life.process().name.clone()
    }
}

/// Parses an output as JSON.
fn decode<O: DeserializeOwned>(
    plugin: &str,
    method: &str,
    answer: &[u8],
) -> Result<O, PluginError> {
    let named = || (plugin.to_owned(), method.to_owned());
    let text = std::str::from_utf8(answer).map_err(|source| {
        let (plugin, method) = named();
        PluginError::NotUtf8 { plugin, method, source }
    })?;
    serde_json::from_str(text).map_err(|source| {
        let (plugin, method) = named();
        PluginError::Decode { plugin, method, answer: beginning(text), source }
    })
}

/// The part of an output that an error shows: enough to recognise it.
fn beginning(text: &str) -> String {
    const CHARS_MAX: usize = 80;
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
