-- What else a script reaches the world by.
local bench = testbench { env = { WHO = "world" }, seed = 7 }

assert_eq(os.getenv("WHO"), "world")
assert_eq(os.getenv("PATH"), nil)
assert_eq(run("env", {}, { env = { MORE = "x" } }).stdout:match("MORE=%w+"), "MORE=x")

local ends, why = pcall(os.exit, 0)
assert(not ends and why:find("whole test process"), why)

-- The same seed, the same numbers: also in a state that is made later in the same session.
math.randomseed()
local first = math.random(0)
bench:finish()
local again = testbench { seed = 7 }
math.randomseed()
assert_eq(math.random(0), first)
again:finish()
testbench { seed = 8 }
math.randomseed()
assert(math.random(0) ~= first)
