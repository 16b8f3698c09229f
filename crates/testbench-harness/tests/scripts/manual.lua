-- The replaced functions keep what the manual promises of Lua's own.
local bench = testbench { files = { ["f"] = "one\ntwo\n" } }

-- An error is a string, with the place of the call where that is a line of Lua.
local function problem(f, ...) return select(2, pcall(f, ...)) end
assert_eq(problem(io.open, "x", "rw"), "bad argument #2 to 'open' (invalid mode)")
assert_eq(problem(io.popen, "true", "rw"), "bad argument #2 to 'popen' (invalid mode)")
assert_eq(problem(os.time, { year = "x", month = 1, day = 1 }), "field 'year' is not an integer")
assert_eq(problem(os.time, { year = 2000 }), "field 'month' missing in date table")
assert(problem(os.execute, "for x in y; do z; done"):find("cannot run", 1, true))
assert_eq(type(problem(os.remove)), "string")
local file = io.open("f")
assert_eq(problem(file.read, file, "x"), "bad argument #1 to 'read' (invalid format)")
assert_eq(problem(file.seek, file, "up"), "bad argument #1 to 'seek' (invalid option 'up')")
assert_eq(problem(file.write, file, {}), "bad argument #1 to 'write' (string expected, got table)")
file:close()
assert_eq(problem(function() return (file:read()) end),
  "manual.lua:17: attempt to use a closed file")
assert_eq(problem(file.lines, file), "attempt to use a closed file")
assert_eq(problem(file.close, file), "attempt to use a closed file")

-- A number in a table of a date may be written as text.
assert_eq(os.time { year = "1970", month = 1, day = "1", hour = 0 }, 0)

-- Names are bytes.
local made = assert(io.open("n\xff", "w"))
made:write("x")
made:close()
assert(os.rename("n\xff", "m\xfe"))
assert_eq(select(2, io.open("n\xff")), "n\xff: No such file or directory")
assert(os.remove("m\xfe"))

-- A pipe that is written to and never closed runs when it is collected.
do io.popen("cat > out", "w"):write("hello") end
collectgarbage()
collectgarbage()
assert_eq(io.open("out"):read("a"), "hello")

-- Closing by the end of a block, and lines of an open file.
do
  local kept <close> = assert(io.open("f"))
  local lines = {}
  for line in kept:lines("L") do lines[#lines + 1] = line end
  assert_eq(lines, { "one\n", "two\n" })
  assert_eq(io.type(kept), "file")
  file = kept
end
assert_eq(io.type(file), "closed file")
