// relay: copies standard input to standard output in blocks of BYTES (default 4096), and sleeps for
// INTERVAL before each block (-b) or after it (-a). -u turns small letters into capitals. -n never
// waits for input or for room: it tries again and again, and -v says how often on standard error.
//
// A stage of a pipeline whose pace is known: a slow producer, a filter, a slow consumer.
#define PROG "relay"
#define USAGE "[-nuv] [-a INTERVAL | -b INTERVAL] [BYTES]"
#include "common.h"

enum { BYTES_MAX = 1024 * 1024 };

static unsigned char block[BYTES_MAX];
static unsigned long long attempts;

// Reads until the block is full or the input ends; what came.
static size_t read_block(size_t bytes) {
    size_t length = 0;
    while (length < bytes) {
        attempts++;
        ssize_t got = read(0, block + length, bytes - length);
        if (got < 0 && errno == EAGAIN) continue;
        if (got < 0) {
            complain("standard input");
            exit(finish());
        }
        if (got == 0) break;
        length += (size_t)got;
    }
    return length;
}

static void write_block(size_t length) {
    for (size_t done = 0; done < length;) {
        attempts++;
        ssize_t put = write(1, block + done, length - done);
        if (put < 0 && errno == EAGAIN) continue;
        if (put < 0) {
            complain("standard output");
            exit(finish());
        }
        done += (size_t)put;
    }
}

static void never_wait(int fd) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        complain("fcntl");
        exit(finish());
    }
}

int main(int argc, char **argv) {
    long long before = 0, after = 0, bytes = 4096;
    bool capitals = false, verbose = false;
    for (int option; (option = next_option(argc, argv, "nuva:b:")) != -1;) {
        if (option == 'a') after = interval(optarg);
        if (option == 'b') before = interval(optarg);
        if (option == 'n') never_wait(0), never_wait(1);
        capitals |= option == 'u';
        verbose |= option == 'v';
    }
    if (optind < argc) bytes = number(argv[optind++]);
    if (optind < argc || bytes == 0 || bytes > BYTES_MAX) usage();
    for (size_t length; (length = read_block((size_t)bytes)) > 0;) {
        if (before) sleep_ns(before);
        for (size_t i = 0; capitals && i < length; i++)
            if (block[i] >= 'a' && block[i] <= 'z') block[i] -= 'a' - 'A';
        write_block(length);
        if (after) sleep_ns(after);
    }
    if (verbose) fprintf(stderr, "%llu attempts\n", attempts);
    return finish();
}
