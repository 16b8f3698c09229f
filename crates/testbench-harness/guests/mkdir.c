// mkdir: makes directories; -p makes those above too, and accepts the ones that exist.
#define PROG "mkdir"
#define USAGE "[-p] DIR..."
#include "common.h"

static bool make_with_parents(char *path) {
    for (char *slash = path + 1;; slash++) {
        if (*slash != '/' && *slash != '\0') continue;
        char byte = *slash;
        *slash = '\0';
        bool made = mkdir(path, 0777) == 0;
        int why = errno;
        // Whatever mkdir says of `.`, `..` or a mount point: an existing directory is what -p asks for.
        if (!made && !is_directory(path)) {
            errno = why;
            complain(path);
            return false;
        }
        *slash = byte;
        if (byte == '\0' || slash[1] == '\0') return true;
    }
}

int main(int argc, char **argv) {
    bool parents = false;
    begin();
    while (next_option(argc, argv, "p") != -1) parents = true;
    if (optind == argc) usage();
    for (int i = optind; i < argc; i++) {
        if (parents && argv[i][0])
            make_with_parents(argv[i]);
        else if (mkdir(argv[i], 0777) != 0)
            complain(argv[i]);
    }
    return finish();
}
