// head: prints the first lines (10) or bytes of files, or of standard input.
#define PROG "head"
#define USAGE "[-n LINES | -c BYTES] [FILE]..."
#include "common.h"

int main(int argc, char **argv) {
    long long lines = 10, bytes = -1;
    begin();
    for (int option; (option = next_option(argc, argv, "n:c:")) != -1;)
        if (option == 'n')
            lines = number(optarg), bytes = -1;
        else
            bytes = number(optarg);
    static char *only_stdin[] = {"-", NULL};
    char **operands = optind < argc ? argv + optind : only_stdin;
    bool titled = argc - optind > 1, first = true;
    for (char **path = operands; *path; path++) {
        FILE *file = open_operand(*path);
        if (!file) continue;
        if (titled) printf("%s==> %s <==\n", first ? "" : "\n", *path);
        first = false;
        long long left = bytes >= 0 ? bytes : lines;
        for (int byte; left > 0 && (byte = getc(file)) != EOF;) {
            putchar(byte);
            left -= bytes >= 0 || byte == '\n';
        }
        close_operand(file, *path);
    }
    return finish();
}
