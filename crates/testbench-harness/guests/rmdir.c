// rmdir: removes empty directories.
#define PROG "rmdir"
#define USAGE "DIR..."
#include "common.h"

int main(int argc, char **argv) {
    begin();
    next_option(argc, argv, "");
    if (optind == argc) usage();
    for (int i = optind; i < argc; i++)
        if (rmdir(argv[i]) != 0) complain(argv[i]);
    return finish();
}
