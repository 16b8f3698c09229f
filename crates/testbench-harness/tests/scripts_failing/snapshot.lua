testbench {}
assert_snapshot("text", "what the snapshot does not say")
