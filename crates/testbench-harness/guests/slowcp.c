// slowcp: reads all of IN, then sleeps, then creates OUT with the same bytes.
//
// For tests of one guest that uses files and the clock together.
#define PROG "slowcp"
#define USAGE "INTERVAL IN OUT"
#include "common.h"

static char *content;
static size_t length;

// Reads the whole file into `content`; -1 with errno if that fails.
static int slurp(const char *path) {
    int in = open(path, O_RDONLY);
    if (in < 0) return -1;
    for (size_t capacity = 0;;) {
        if (length == capacity) {
            capacity = capacity ? capacity * 2 : 4096;
            content = realloc(content, capacity);
            if (!content) return -1;
        }
        ssize_t got = read(in, content + length, capacity - length);
        if (got < 0) return -1;
        if (got == 0) return close(in);
        length += (size_t)got;
    }
}

static int spill(const char *path) {
    int out = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (out < 0) return -1;
    for (size_t done = 0; done < length;) {
        ssize_t put = write(out, content + done, length - done);
        if (put < 0) return -1;
        done += (size_t)put;
    }
    return close(out);
}

int main(int argc, char **argv) {
    begin();
    if (argc != 4) usage();
    long long ns = interval(argv[1]);
    if (slurp(argv[2]) != 0) {
        complain(argv[2]);
        return finish();
    }
    sleep_ns(ns);
    if (spill(argv[3]) != 0) complain(argv[3]);
    return finish();
}
