-- The functions of tests beside Lua's own `assert`.

local native = ...

testbench = native.testbench
run = native.run
sleep = native.sleep
now = native.now

local function sorted_keys(table_)
  local keys = {}
  for key in pairs(table_) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) and (type(a) == "number" or type(a) == "string") then return a < b end
    return type(a) .. tostring(a) < type(b) .. tostring(b)
  end)
  return keys
end

local function show(value, seen)
  if type(value) == "string" then return string.format("%q", value) end
  if type(value) ~= "table" then return tostring(value) end
  if seen[value] then return "{…}" end
  seen[value] = true
  local parts = {}
  for _, key in ipairs(sorted_keys(value)) do
    local name = math.type(key) == "integer" and "" or "[" .. show(key, seen) .. "] = "
    parts[#parts + 1] = name .. show(value[key], seen)
  end
  seen[value] = nil
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function equal(a, b, seen)
  if a == b then return true end
  if type(a) ~= "table" or type(b) ~= "table" then return false end
  if seen[a] == b then return true end
  seen[a] = b
  for key, value in pairs(a) do
    if not equal(value, b[key], seen) then return false end
  end
  for key in pairs(b) do
    if a[key] == nil then return false end
  end
  return true
end

function assert_eq(actual, expected)
  if not equal(actual, expected, {}) then
    error("assert_eq failed\nexpected: " .. show(expected, {})
      .. "\n  actual: " .. show(actual, {}), 2)
  end
end

function assert_snapshot(name, text)
  local problem = native.snapshot(name, text)
  if problem then error(problem, 2) end
end
