// mv: renames files and directories; from one mount to another it copies and removes.
#define PROG "mv"
#define USAGE "[-fn] SOURCE... TARGET"
#include "common.h"
#include "tree.h"

static bool keep_existing;

static void move(const char *source, const char *target) {
    struct stat found;
    char *to = destination(source, target);
    if (lstat(source, &found) != 0) {
        complain(source);
    } else if (keep_existing && lstat(to, &found) == 0) {
        // -n: nothing to do, and no error.
    } else if (rename(source, to) == 0) {
    } else if (errno != EXDEV) {
        int why = errno;
        complain_that("cannot rename %s to %s: %s", source, to, strerror(why));
    } else if (copy_tree(source, to, true)) {
        remove_tree(source);
    }
    free(to);
}

int main(int argc, char **argv) {
    begin();
    for (int option; (option = next_option(argc, argv, "fn")) != -1;) keep_existing = option == 'n';
    if (argc - optind < 2) usage();
    const char *target = argv[argc - 1];
    if (argc - optind > 2 && !is_directory(target)) {
        complain_that("%s: is not a directory, and there are several sources", target);
        return finish();
    }
    for (int i = optind; i < argc - 1; i++) move(argv[i], target);
    return finish();
}
