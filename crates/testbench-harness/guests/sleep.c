// sleep: waits for the sum of its operands.
#define PROG "sleep"
#define USAGE "NUMBER[s|m|h|d]..."
#include "common.h"

int main(int argc, char **argv) {
    long long total = 0;
    begin();
    next_option(argc, argv, "");
    if (optind == argc) usage();
    for (int i = optind; i < argc; i++)
        if (__builtin_add_overflow(total, interval(argv[i]), &total)) {
            complain_that("the intervals add up to more than 292 years");
            return finish();
        }
    sleep_ns(total);
    return finish();
}
