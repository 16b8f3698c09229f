// cat: writes files, or standard input, one after the other to standard output.
#define PROG "cat"
#define USAGE "[-n] [FILE]...   (- is standard input)"
#include "common.h"

static long long line = 1;

static void number_lines(FILE *file) {
    static bool line_is_open;
    for (int byte; (byte = getc(file)) != EOF;) {
        if (!line_is_open) printf("%6lld\t", line++);
        putchar(byte);
        line_is_open = byte != '\n';
    }
}

static void copy(int from, const char *name) {
    const char *culprit;
    if (!copy_bytes(from, STDOUT_FILENO, &culprit, name, "write error")) complain(culprit);
}

int main(int argc, char **argv) {
    bool numbered = false;
    begin();
    for (int option; (option = next_option(argc, argv, "nu")) != -1;)
        if (option == 'n') numbered = true;  // -u, unbuffered, is how this cat always works
    static char *only_stdin[] = {"-", NULL};
    for (char **path = optind < argc ? argv + optind : only_stdin; *path; path++) {
        if (numbered) {
            FILE *file = open_operand(*path);
            if (!file) continue;
            number_lines(file);
            close_operand(file, *path);
            continue;
        }
        int from = strcmp(*path, "-") == 0 ? STDIN_FILENO : open(*path, O_RDONLY);
        if (from < 0) {
            complain(*path);
            continue;
        }
        copy(from, *path);
        if (from != STDIN_FILENO) close(from);
    }
    return finish();
}
