// sha256sum: prints the SHA-256 of files or of standard input.
#define PROG "sha256sum"
#define USAGE "[FILE]..."
#include "common.h"
#include "sha256.h"

int main(int argc, char **argv) {
    begin();
    next_option(argc, argv, "");
    static char *only_stdin[] = {"-", NULL};
    for (char **path = optind < argc ? argv + optind : only_stdin; *path; path++) {
        char hex[SHA256_HEX_MAX];
        FILE *file = open_operand(*path);
        if (!file) continue;
        Sha256 hash;
        sha256_begin(&hash);
        sha256_add_file(&hash, file);
        sha256_end(&hash, hex);
        if (!ferror(file)) printf("%s  %s\n", hex, *path);
        close_operand(file, *path);
    }
    return finish();
}
