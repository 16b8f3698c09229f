// slowcp: reads all of IN, then sleeps, then creates OUT with the same bytes.
//
// For tests of one guest that uses files and the clock together. Built like ../../guests/*.c, with
// the flags of ../../guests/build.sh and -I../../guests.
#define PROG "slowcp"
#define USAGE "INTERVAL IN OUT"
#include "common.h"

int main(int argc, char **argv) {
    static char buffer[64 * 1024];
    begin();
    if (argc != 4) usage();
    long long ns = interval(argv[1]);
    int in = open(argv[2], O_RDONLY);
    ssize_t length = in < 0 ? -1 : read(in, buffer, sizeof buffer);
    if (length < 0 || close(in) != 0) {
        complain(argv[2]);
        return finish();
    }
    sleep_ns(ns);
    int out = open(argv[3], O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (out < 0 || write(out, buffer, (size_t)length) != length || close(out) != 0) complain(argv[3]);
    return finish();
}
