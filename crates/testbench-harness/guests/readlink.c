// readlink: prints what symlinks point to.
#define PROG "readlink"
#define USAGE "[-n] LINK..."
#include "common.h"
#include "tree.h"

int main(int argc, char **argv) {
    bool newline = true;
    begin();
    while (next_option(argc, argv, "n") != -1) newline = false;
    if (optind == argc) usage();
    for (int i = optind; i < argc; i++) {
        char *target = read_link(argv[i], 0);
        if (!target) {
            complain(argv[i]);
            continue;
        }
        fputs(target, stdout);
        if (newline || argc - optind > 1) putchar('\n');
        free(target);
    }
    return finish();
}
