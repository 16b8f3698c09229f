// cp: copies files and, with -r, directory trees.
#define PROG "cp"
#define USAGE "[-rp] SOURCE... TARGET"
#include "common.h"
#include "tree.h"

static bool recursive, preserve;

static void copy(const char *source, const char *target) {
    struct stat found;
    if ((recursive ? lstat : stat)(source, &found) != 0) {
        complain(source);
        return;
    }
    char *to = destination(source, target);
    if (S_ISDIR(found.st_mode) && !recursive)
        complain_that("%s: is a directory (-r copies it)", source);
    else if (S_ISDIR(found.st_mode) && is_inside(to, source))
        complain_that("cannot copy %s into itself, %s", source, to);
    else if (same_file(source, to))
        complain_that("%s and %s are the same file", source, to);
    else if (recursive)
        copy_tree(source, to, preserve);
    else if (copy_file(source, to) && preserve)
        set_times(to, &found);
    free(to);
}

int main(int argc, char **argv) {
    begin();
    for (int option; (option = next_option(argc, argv, "rRpf")) != -1;) {
        recursive |= option == 'r' || option == 'R';
        preserve |= option == 'p';
    }
    if (argc - optind < 2) usage();
    const char *target = argv[argc - 1];
    if (argc - optind > 2 && !is_directory(target)) {
        complain_that("%s: is not a directory, and there are several sources", target);
        return finish();
    }
    for (int i = optind; i < argc - 1; i++) copy(argv[i], target);
    return finish();
}
