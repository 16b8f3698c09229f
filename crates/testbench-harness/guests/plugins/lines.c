// lines: a library with debug information, which traps in a known line.
__attribute__((noinline)) static int inner(int divisor) {
    return 7 / divisor;  // line 3
}

__attribute__((export_name("divide"))) int divide(int divisor) {
    return inner(divisor) + 1;  // line 7
}
