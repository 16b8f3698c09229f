local function check(found)
  assert_eq(found, { answer = 42 })
end

check { answer = 41, extra = "x" }
