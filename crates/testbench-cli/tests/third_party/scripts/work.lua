-- Reads, writes, renames and deletes files, catches errors, prints the time; Lua has no sleep and lists no
-- directories. The same steps as work.py, work.rb and work.php.
local function read(path)
    local file = assert(io.open(path, "rb"))
    local text = file:read("a")
    file:close()
    return text
end

local text = read("in.txt")
print("read", #text, text:match("^[^\n]*"))

local out = assert(io.open("made.txt", "w"))
for line in text:gmatch("[^\n]+") do out:write(line:upper(), "\n") end
out:close()

local appended = assert(io.open("made.txt", "a"))
appended:write("appended\n")
appended:close()
print("size", #read("made.txt"))

assert(os.rename("made.txt", "renamed.txt"))
assert(os.remove("delete-me.txt"))
print("gone", io.open("made.txt") == nil, io.open("delete-me.txt") == nil)

local file = assert(io.open("seek.bin", "w+b"))
file:write("0123456789")
file:seek("set", 3)
file:write("x")
file:seek("end", -2)
print("seek", file:read("a"))
file:close()

-- Errors cross pcall as longjmp does: strings, tables, from inside coroutines, and from deep inside C.
print("error", pcall(error, "a string", 0))
print("error", select(2, pcall(error, { code = 7 })).code)
print("error", pcall(string.rep))
local co = coroutine.wrap(function() coroutine.yield(1); error("in a coroutine", 0) end)
print("coroutine", co(), pcall(co))
local function deep(n) return n == 0 and error("deep", 0) or 1 + deep(n - 1) end
print("deep", pcall(deep, 150))
print("overflow", (pcall(function() local function f() return 1 + f() end return f() end)))
local ok, message = io.open("no/such/file")
print("missing", ok, message)

print("time", os.date("!%Y-%m-%dT%H:%M:%SZ"))
for line in io.lines() do print("stdin", line) end
os.exit(tonumber(arg[1]))
