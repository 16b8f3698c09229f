local bench = testbench { clock = "2024-02-29T23:59:59.5Z" }

assert_eq(os.time(), 1709251199)
assert_eq(os.date("%Y-%m-%d %H:%M:%S"), "2024-02-29 23:59:59")
assert_eq(os.clock(), 0.0)
sleep(0.5)
assert_eq(os.date("!%c"), "Fri Mar  1 00:00:00 2024")
assert(os.execute("sleep 90"))
assert_eq(os.clock(), 90.5)
assert_eq(bench:virtual_time(), 90.5)

-- Fields out of their ranges are brought into them, in UTC on every machine.
local fields = { year = 2024, month = 14, day = -1, hour = 25, min = 61, sec = 61 }
assert_eq(os.time(fields), os.time { year = 2025, month = 1, day = 31, hour = 2, min = 2, sec = 1 })
assert_eq({ fields.year, fields.month, fields.day, fields.hour }, { 2025, 1, 31, 2 })
assert_eq(os.time { year = 1970, month = 1, day = 1, hour = 0 }, 0)
assert_eq(os.difftime(os.time(), 1709251199), 91.0)
