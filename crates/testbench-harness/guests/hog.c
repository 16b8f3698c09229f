// hog: takes more and more of one thing until the host refuses, or until COUNT, and says how much it
// got.
//
//   memory   MiB allocated and written to     files    descriptors open at once (in `.`, read only)
//   output   KiB written to standard output   random   KiB of random bytes read
//
// The report goes to standard error. Exit status: 0 after COUNT, 1 when the host refused.
#define PROG "hog"
#define USAGE "memory | files | output | random [COUNT]"
#include "common.h"

static bool take_memory(void) {
    enum { MIB = 1 << 20 };
    char *block = malloc(MIB);
    if (block) memset(block, 0xa5, MIB);
    // Kept on purpose; the pointer escapes so that the allocation is not optimised away.
    __asm__ volatile("" : : "r"(block) : "memory");
    return block != NULL;
}

static bool take_file(void) { return open(".", O_RDONLY | O_DIRECTORY) >= 0; }

static bool take_output(void) {
    static char text[1024];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\n';
    for (size_t done = 0; done < sizeof text;) {
        ssize_t wrote = write(STDOUT_FILENO, text + done, sizeof text - done);
        if (wrote < 0) return false;
        done += (size_t)wrote;
    }
    return true;
}

static bool take_random(void) {
    static char bytes[256];
    for (int i = 0; i < 4; i++)
        if (getentropy(bytes, sizeof bytes) != 0) return false;
    return true;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name, *unit;
        bool (*take)(void);
    } kinds[] = {{"memory", "MiB", take_memory},
                 {"files", "descriptors", take_file},
                 {"output", "KiB", take_output},
                 {"random", "KiB", take_random}};
    begin();
    if (argc < 2 || argc > 3) usage();
    long long wanted = argc == 3 ? number(argv[2]) : LLONG_MAX, got = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(argv[1], kinds[i].name) != 0) continue;
        while (got < wanted && kinds[i].take()) got++;
        int why = errno;
        fprintf(stderr, "hog: %lld %s\n", got, kinds[i].unit);
        if (got < wanted) complain_that("%s: %s", argv[1], strerror(why));
        return finish();
    }
    complain_that("nothing is called '%s'", argv[1]);
    usage();
}
