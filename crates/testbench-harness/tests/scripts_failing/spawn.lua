testbench { toolchain = {} }

local function start()
  return run("no-such-tool")
end
start()
