// exit42: ends with status 42, or with the one given.
#define PROG "exit42"
#define USAGE "[STATUS]"
#include "common.h"

int main(int argc, char **argv) {
    if (argc > 2) usage();
    return argc > 1 ? (int)number(argv[1]) : 42;
}
