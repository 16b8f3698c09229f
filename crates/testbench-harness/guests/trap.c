// trap: ends in a trap of the chosen kind. Its functions keep their names, for backtraces.
//
// A null pointer is not among them: address 0 is ordinary memory in WebAssembly.
#define PROG "trap"
#define USAGE "[unreachable | abort | oob | stack | divide | overflow | convert | null-call | wrong-call]"
#include "common.h"

#define KEPT __attribute__((noinline)) static

static volatile int zero = 0, minus_one = -1, smallest = INT_MIN;
static volatile double huge = 1e30;
static volatile int sink;

KEPT void reach_the_unreachable(void) { __builtin_trap(); }

KEPT void read_out_of_bounds(void) { sink = *(volatile int *)(uintptr_t)0xfffffff0u; }

// Calls itself through a volatile pointer, so that it stays a call, and works afterwards, so that
// it is no tail call.
static int recurse(int depth);
static int (*volatile again)(int) = recurse;
KEPT int recurse(int depth) { return again(depth + 1) + depth; }

KEPT void divide_by_zero(void) { sink = minus_one / zero; }

KEPT void overflow_a_division(void) { sink = smallest / minus_one; }

KEPT void convert_a_huge_float(void) { sink = __builtin_wasm_trunc_s_i32_f64(huge); }

KEPT void call_null(void) {
    void (*volatile function)(void) = NULL;
    function();
}

KEPT void call_with_the_wrong_type(void) {
    void (*volatile function)(double, double) = (void (*)(double, double))(void (*)(void))call_null;
    function(1.0, 2.0);
}

int main(int argc, char **argv) {
    const char *kind = argc > 1 ? argv[1] : "unreachable";
    if (argc > 2) usage();
    // What was printed before a trap must not be lost.
    printf("trap: about to: %s\n", kind);
    fflush(stdout);
    if (strcmp(kind, "unreachable") == 0) reach_the_unreachable();
    if (strcmp(kind, "abort") == 0) abort();
    if (strcmp(kind, "oob") == 0) read_out_of_bounds();
    if (strcmp(kind, "stack") == 0) sink = recurse(0);
    if (strcmp(kind, "divide") == 0) divide_by_zero();
    if (strcmp(kind, "overflow") == 0) overflow_a_division();
    if (strcmp(kind, "convert") == 0) convert_a_huge_float();
    if (strcmp(kind, "null-call") == 0) call_null();
    if (strcmp(kind, "wrong-call") == 0) call_with_the_wrong_type();
    complain_that("no trap of the kind '%s', or it did not happen", kind);
    usage();
}
