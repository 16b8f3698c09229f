// rm: removes files and, with -r, directory trees. Symlinks are removed, never followed.
#define PROG "rm"
#define USAGE "[-rf] FILE..."
#include "common.h"
#include "tree.h"

int main(int argc, char **argv) {
    bool recursive = false, force = false;
    begin();
    for (int option; (option = next_option(argc, argv, "rRf")) != -1;)
        *(option == 'f' ? &force : &recursive) = true;
    if (optind == argc && !force) usage();
    for (int i = optind; i < argc; i++) {
        struct stat found;
        char *name = base_name(argv[i]);
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "/") == 0)
            complain_that("refusing to remove %s", argv[i]);
        else if (lstat(argv[i], &found) != 0) {
            if (!force || (errno != ENOENT && errno != ENOTDIR)) complain(argv[i]);
        } else if (S_ISDIR(found.st_mode) && !recursive)
            complain_that("%s: is a directory (-r removes it)", argv[i]);
        else
            remove_tree(argv[i]);
        free(name);
    }
    return finish();
}
