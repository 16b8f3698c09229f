// seq: prints whole numbers in order, one a line.
#define PROG "seq"
#define USAGE "[FIRST] LAST"
#include "common.h"

int main(int argc, char **argv) {
    begin();
    if (argc < 2 || argc > 3) usage();
    long long first = argc == 3 ? number(argv[1]) : 1, last = number(argv[argc - 1]);
    for (long long i = first; i <= last; i++) {
        printf("%lld\n", i);
        if (i == LLONG_MAX) break;
    }
    return finish();
}
