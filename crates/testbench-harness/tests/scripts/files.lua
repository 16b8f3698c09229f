local bench = testbench { files = { ["a.txt"] = "one\ntwo\n0x10 -2.5e1 7 end\n", ["old"] = "x" } }

-- Reading, in every format.
local f = assert(io.open("a.txt", "r"))
assert_eq(io.type(f), "file")
assert_eq(f:read("L"), "one\n")
assert_eq(f:read(2), "tw")
assert_eq(f:read("l"), "o")
local a, b, c = f:read("n", "n", "n")
assert_eq({ a, b, c }, { 16, -25.0, 7 })
assert_eq({ math.type(a), math.type(b) }, { "integer", "float" })
assert_eq(f:read("n"), nil) -- "end" begins like nothing that is a number
assert_eq(f:seek("set", 4), 4)
assert_eq(f:read(), "two")
assert_eq(f:seek("end"), 26)
assert_eq(f:read("a"), "")
assert_eq(f:read("l"), nil)
assert_eq(f:read(0), nil)
f:close()
assert_eq(io.type(f), "closed file")
assert(not pcall(f.read, f))

-- Writing, and reading what was written through the same file.
local w = assert(io.open("w.txt", "w+"))
assert(w:write("ab", 12, "\n", 1.5, "\n"))
w:seek("set", 1)
w:write("X")
assert_eq(w:read("l"), "12")
w:seek("set")
assert_eq(w:read("a"), "aX12\n1.5\n")
w:close()
local more = assert(io.open("w.txt", "a"))
more:write("end\n")
more:close()

-- What fails says why, in three values.
local none, text, number = io.open("missing.txt")
assert_eq({ none, text, number }, { nil, "missing.txt: No such file or directory", 2 })
assert_eq(select(2, os.remove("missing.txt")), "missing.txt: No such file or directory")
assert(not pcall(io.open, "a.txt", "rw"))
assert(not pcall(io.lines, "missing.txt"))
local denied, why = io.open("/etc/passwd")
assert_eq(denied, nil)
assert(why:find("outside", 1, true), why)

-- Names.
assert(os.rename("old", "new"))
assert(os.remove("a.txt"))
local name = os.tmpname()
assert_eq(name, "lua_000001")
assert(os.remove(name))
local scratch = io.tmpfile()
scratch:write("scratch")
scratch:seek("set")
assert_eq(scratch:read("a"), "scratch")
scratch:close()

-- The default files.
io.output("log.txt")
io.write("logged ", 1, "\n")
io.close()
io.output(io.stdout)
io.input("log.txt")
assert_eq(io.read("l"), "logged 1")
io.input():close()
io.input(io.stdin)

-- Programs of the overlay.
local chunk = assert(io.open("program.lua", "w"))
chunk:write("#!/usr/bin/lua\nreturn ..., 42")
chunk:close()
assert_eq(select(2, loadfile("program.lua")("x")), 42)
assert_eq(select(2, loadfile("none.lua")), "cannot open none.lua: No such file or directory")

assert_snapshot("diff", bench:diff())
