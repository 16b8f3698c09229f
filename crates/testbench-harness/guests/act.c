// act: does what its words say, one after the other, and ends: a child whose every behaviour a test
// can ask for. It is compiled for the host as well, so that a test can ask a guest and a native
// program for the same and expect the same.
//
//   out TEXT, err TEXT   prints a line to standard output or standard error
//   line                 prints one line of standard input
//   cat                  copies what is left of standard input to standard output
//   swap AB              as cat, with each byte A turned into B
//   fill BYTES           writes so many bytes that look random and are the same every time
//   digest               reads what is left of standard input, prints its length and its FNV-1a hash
//   eof                  fails unless standard input is at its end
//   pace INTERVAL        from here on cat, swap, fill and digest sleep before each block
//   sleep INTERVAL
//   name                 prints argv[0]
//   args WORD...         prints all that follow, one a line, in brackets
//   env                  prints the environment, sorted
//   getenv NAME          prints one variable, or `(unset)`
//   pwd                  prints the working directory
//   read FILE            prints a file
//   write FILE TEXT      makes a file of one line
//   random, time         prints 16 random bytes, the wall clock
//   shut FD              closes a descriptor
//   closed FD            fails if the descriptor is open
//   exit STATUS, abort   ends at once
#define PROG "act"
#define USAGE "WORD..."
#include "common.h"

enum { BLOCK = 64 * 1024 };

extern char **environ;

static unsigned char block[BLOCK];
static long long pause_ns;

static void fail(const char *what) {
    complain(what);
    exit(finish());
}

// Reads what there is, at most a block; 0 at the end.
static size_t get(void) {
    if (pause_ns) sleep_ns(pause_ns);
    ssize_t got = read(0, block, sizeof block);
    if (got < 0) fail("standard input");
    return (size_t)got;
}

static void put(size_t length) {
    for (size_t done = 0; done < length;) {
        ssize_t wrote = write(1, block + done, length - done);
        if (wrote < 0) fail("standard output");
        done += (size_t)wrote;
    }
}

static void copy(int from, int to) {
    for (size_t length; (length = get()) > 0; put(length))
        for (size_t i = 0; from != to && i < length; i++)
            if (block[i] == from) block[i] = (unsigned char)to;
}

// The numbers of a linear congruential generator (MMIX), of each the highest byte.
static void fill(long long bytes) {
    uint64_t state = 1;
    while (bytes > 0) {
        size_t length = bytes < BLOCK ? (size_t)bytes : BLOCK;
        for (size_t i = 0; i < length; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            block[i] = state >> 56;
        }
        if (pause_ns) sleep_ns(pause_ns);
        put(length);
        bytes -= (long long)length;
    }
}

static void digest(void) {
    uint64_t hash = 0xcbf29ce484222325, total = 0;
    for (size_t length; (length = get()) > 0; total += length)
        for (size_t i = 0; i < length; i++) hash = (hash ^ block[i]) * 0x100000001b3;
    printf("%llu %016llx\n", (unsigned long long)total, (unsigned long long)hash);
}

// Byte by byte, so that the next word finds what follows.
static void line(void) {
    unsigned char byte = 0;
    for (ssize_t got; byte != '\n'; putchar(byte)) {
        if ((got = read(0, &byte, 1)) < 0) fail("standard input");
        if (got == 0) return;
    }
}

static void at_end(void) {
    size_t length = get();
    if (length == 0) return;
    complain_that("standard input has %zu bytes more", length);
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void show_environment(void) {
    size_t count = 0;
    while (environ && environ[count]) count++;
    if (count) qsort(environ, count, sizeof *environ, by_bytes);
    for (size_t i = 0; i < count; i++) puts(environ[i]);
}

static void show_file(const char *path) {
    const char *culprit;
    int file = open(path, O_RDONLY);
    if (file < 0 || !copy_bytes(file, 1, &culprit, path, "standard output")) fail(path);
    close(file);
}

static void make_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file || fprintf(file, "%s\n", text) < 0 || fclose(file) != 0) fail(path);
}

static void show_random(void) {
    unsigned char bytes[16];
    if (getentropy(bytes, sizeof bytes) != 0) fail("getentropy");
    for (size_t i = 0; i < sizeof bytes; i++) printf("%02x", bytes[i]);
    putchar('\n');
}

static void show_time(void) {
    struct timespec now;
    char text[RFC3339_MAX];
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) fail("clock_gettime");
    puts(rfc3339(now, text));
}

static void check_closed(int fd) {
    struct stat found;
    if (fstat(fd, &found) == 0) complain_that("descriptor %d is open", fd);
}

// Where the words are.
static char **word;

static const char *next(void) {
    if (!*word) usage();
    return *word++;
}

static void show_args(void) {
    while (*word) printf("[%s]\n", *word++);
}

static void swap(const char *bytes) {
    if (strlen(bytes) != 2) usage();
    copy((unsigned char)bytes[0], (unsigned char)bytes[1]);
}

// Does one word; false if there is no such word.
static bool act(const char *verb, const char *name) {
#define IS(text) (strcmp(verb, text) == 0)
    if (IS("out")) puts(next());
    else if (IS("err")) fprintf(stderr, "%s\n", next());
    else if (IS("line")) line();
    else if (IS("cat")) copy(0, 0);
    else if (IS("swap")) swap(next());
    else if (IS("fill")) fill(number(next()));
    else if (IS("digest")) digest();
    else if (IS("eof")) at_end();
    else if (IS("pace")) pause_ns = interval(next());
    else if (IS("sleep")) sleep_ns(interval(next()));
    else if (IS("name")) puts(name);
    else if (IS("args")) show_args();
    else if (IS("env")) show_environment();
    else if (IS("getenv")) { const char *value = getenv(next()); puts(value ? value : "(unset)"); }
    else if (IS("pwd")) { const char *cwd = getcwd(NULL, 0); puts(cwd ? cwd : "(none)"); }
    else if (IS("read")) show_file(next());
    else if (IS("write")) { const char *path = next(); make_file(path, next()); }
    else if (IS("random")) show_random();
    else if (IS("time")) show_time();
    else if (IS("shut")) close((int)number(next()));
    else if (IS("closed")) check_closed((int)number(next()));
    else if (IS("exit")) exit((int)number(next()));
    else if (IS("abort")) abort();
    else return false;
    return true;
#undef IS
}

int main(int argc, char **argv) {
    // A native process is in its directory, and its PWD may be its parent's.
#ifdef __wasi__
    begin();
#endif
    if (argc < 2) usage();
    for (word = argv + 1; *word;) {
        const char *verb = next();
        if (!act(verb, argv[0])) {
            complain_that("unknown word '%s'", verb);
            usage();
        }
        // A reader gets a word's output before the next word is done.
        if (fflush(stdout) != 0) fail("standard output");
    }
    return finish();
}
