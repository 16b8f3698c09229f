-- Lua's own functions, on a session: the script needs nothing new to start tools.
local bench = testbench { files = { ["in.txt"] = "pear\napple\n" } }

assert(os.execute("sort -o out.txt in.txt"))
local file = assert(io.open("out.txt"))
assert_eq(file:read("a"), "apple\npear\n")
file:close()

local ok, how, status = os.execute("cat missing 2> /dev/null")
assert_eq({ ok, how, status }, { nil, "exit", 1 })

local pipe = io.popen("seq 5 | sort -r | head -n 2")
assert_eq(pipe:read("n", "n"), 5)
assert_eq({ pipe:close() }, { true, "exit", 0 })

local sink = io.popen("sort > sorted.txt", "w")
sink:write("b\n", "a\n", 1, "\n")
assert_eq({ sink:close() }, { true, "exit", 0 })
for line in io.lines("sorted.txt") do io.write("") assert(#line == 1) end

assert_eq(#bench:spawns(), 6)
assert_snapshot("diff", bench:diff())
