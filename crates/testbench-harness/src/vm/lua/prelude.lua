-- Puts the functions of `native` in the place of Lua's own. Functions that reach the world are in
-- `native`; those that only arrange values are here, in Lua.

local native = ...
local real = {
  close = io.close, date = os.date, input = io.input, output = io.output,
  randomseed = math.randomseed, type = io.type,
}

-- Files ------------------------------------------------------------------------------------------

io.open = native.open
io.popen = native.popen
io.tmpfile = native.tmpfile
os.tmpname = native.tmpname
os.remove = native.remove
os.rename = native.rename

function io.type(value)
  return native.file_type(value) or real.type(value)
end

function native.methods:lines(...)
  if io.type(self) ~= "file" then error("attempt to use a closed file", 2) end
  local formats = table.pack(...)
  return function() return self:read(table.unpack(formats, 1, formats.n)) end
end

local function must_open(path, mode)
  local file, problem = native.open(path, mode)
  if not file then error(problem, 3) end
  return file
end

-- The default files. Those of the process stay until a script sets others.
local default = { input = io.stdin, output = io.stdout }

function io.input(file)
  if file == nil then return default.input end
  default.input = type(file) == "string" and must_open(file, "r") or file
  return default.input
end

function io.output(file)
  if file == nil then return default.output end
  default.output = type(file) == "string" and must_open(file, "w") or file
  return default.output
end

function io.read(...) return default.input:read(...) end
function io.write(...) return default.output:write(...) end
function io.close(file) return (file or default.output):close() end

function io.lines(path, ...)
  if path == nil then return default.input:lines(...) end
  local file = must_open(path, "r")
  local formats = table.pack(...)
  local function next_line()
    local read = table.pack(file:read(table.unpack(formats, 1, formats.n)))
    if read[1] == nil then file:close() end
    return table.unpack(read, 1, read.n)
  end
  return next_line, nil, nil, file
end

function loadfile(path, mode, env)
  if path == nil then error("a program on standard input is not read in a test bench", 2) end
  local file, problem = native.open(path, "rb")
  if not file then return nil, "cannot open " .. problem end
  -- As in Lua, the first line may be for the system.
  local text = file:read("a"):gsub("^#[^\n]*", "")
  file:close()
  if select("#", mode, env) == 0 or env == nil then return load(text, "@" .. path, mode) end
  return load(text, "@" .. path, mode, env)
end

function dofile(path)
  local chunk, problem = loadfile(path)
  if not chunk then error(problem, 2) end
  return chunk()
end

-- Time -------------------------------------------------------------------------------------------

os.clock = native.clock

-- The time zone is UTC on every machine.
function os.date(format, time)
  format = format or "%c"
  if format:sub(1, 1) ~= "!" then format = "!" .. format end
  return real.date(format, time or os.time())
end

local function field(fields, name, default)
  local value = fields[name]
  if value == nil then
    return default or error("field '" .. name .. "' missing in date table", 3)
  end
  return math.tointeger(tonumber(value)) or error("field '" .. name .. "' is not an integer", 3)
end

function os.time(fields)
  if fields == nil then return native.time() end
  local time = native.utc(field(fields, "year"), field(fields, "month"), field(fields, "day"),
    field(fields, "hour", 12), field(fields, "min", 0), field(fields, "sec", 0))
  -- As in Lua, the fields are brought into their ranges.
  for name, value in pairs(real.date("!*t", time)) do fields[name] = value end
  return time
end

-- Processes --------------------------------------------------------------------------------------

os.execute = native.execute
os.getenv = native.getenv

function os.exit(code)
  error("os.exit(" .. tostring(code) .. ") would end the whole test process; return instead", 2)
end

-- Randomness -------------------------------------------------------------------------------------

function math.randomseed(...)
  if select("#", ...) == 0 then return real.randomseed(native.random()) end
  return real.randomseed(...)
end

math.randomseed()
