// env: prints the environment, in the order in which the host gave it.
#define PROG "env"
#define USAGE "[-i] [-u NAME]... [NAME=VALUE]..."
#define TROUBLE 125
#include "common.h"

extern char **environ;

int main(int argc, char **argv) {
    begin();
    for (int option; (option = next_option(argc, argv, "iu:")) != -1;) {
        if (option == 'i' && clearenv() != 0) complain("clearenv");
        if (option == 'u' && unsetenv(optarg) != 0) complain(optarg);
    }
    for (; optind < argc && strchr(argv[optind], '='); optind++)
        if (putenv(argv[optind]) != 0) complain(argv[optind]);
    if (optind < argc) {
        complain_that("cannot run '%s': a preview 1 program starts no others", argv[optind]);
        status = 126;
        return finish();
    }
    for (char **variable = environ; variable && *variable; variable++) puts(*variable);
    return finish();
}
