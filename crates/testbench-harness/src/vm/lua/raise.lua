-- Makes functions raise their errors. Each returns `true` and its results, or `false` and a text.

local functions = ...
for name, f in pairs(functions) do
  functions[name] = type(f) ~= "function" and f or function(...)
    local results = table.pack(f(...))
    if not results[1] then error(results[2], 2) end
    return table.unpack(results, 2, results.n)
  end
end
