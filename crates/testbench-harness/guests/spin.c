// spin: reads the monotonic clock (-w: the wall clock) over and over, without ever sleeping, until
// an interval has passed. -v prints how many readings it took.
//
// A clock that moves only while a participant waits never lets it end: how a host treats such programs
// is what it is for.
#define PROG "spin"
#define USAGE "[-vw] NUMBER[s|m|h|d]"
#include "common.h"

static long long now(clockid_t clock) {
    struct timespec reading;
    if (clock_gettime(clock, &reading) != 0) {
        complain("clock_gettime");
        exit(TROUBLE);
    }
    return reading.tv_sec * NS_PER_S + reading.tv_nsec;
}

int main(int argc, char **argv) {
    clockid_t clock = CLOCK_MONOTONIC;
    bool verbose = false;
    for (int option; (option = next_option(argc, argv, "vw")) != -1;) {
        verbose |= option == 'v';
        if (option == 'w') clock = CLOCK_REALTIME;
    }
    if (argc - optind != 1) usage();
    unsigned long long readings = 1;
    long long wanted = interval(argv[optind]), start = now(clock);
    for (; now(clock) - start < wanted; readings++) {
    }
    if (verbose) printf("%llu readings\n", readings + 1);
    return finish();
}
