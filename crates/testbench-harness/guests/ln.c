// ln: gives files another name, or with -s makes symlinks; -f replaces what is in the way.
#define PROG "ln"
#define USAGE "[-sf] TARGET... LINK-OR-DIR"
#include "common.h"
#include "tree.h"

int main(int argc, char **argv) {
    bool symbolic = false, force = false;
    begin();
    for (int option; (option = next_option(argc, argv, "sf")) != -1;)
        *(option == 's' ? &symbolic : &force) = true;
    if (argc - optind < 1) usage();
    bool only_target = argc - optind == 1;
    const char *last = only_target ? "." : argv[argc - 1];
    if (argc - optind > 2 && !is_directory(last)) {
        complain_that("%s: is not a directory, and there are several targets", last);
        return finish();
    }
    for (int i = optind; i < argc - (only_target ? 0 : 1); i++) {
        char *name = destination(argv[i], last);
        if (force && unlink(name) != 0 && errno != ENOENT)
            complain(name);
        else if ((symbolic ? symlink : link)(argv[i], name) != 0) {
            int why = errno;
            complain_that("cannot link %s to %s: %s", name, argv[i], strerror(why));
        }
        free(name);
    }
    return finish();
}
