// tee: copies standard input to standard output and to every file named.
#define PROG "tee"
#define USAGE "[-a] [FILE]..."
#include "common.h"

static bool write_all(int to, const char *bytes, ssize_t count) {
    for (ssize_t done = 0, wrote; done < count; done += wrote)
        if ((wrote = write(to, bytes + done, count - done)) < 0) return false;
    return true;
}

int main(int argc, char **argv) {
    static char buffer[16 * 1024];
    int how = O_TRUNC;
    begin();
    while (next_option(argc, argv, "a") != -1) how = O_APPEND;
    int count = argc - optind + 1;
    int *outputs = need(malloc(count * sizeof *outputs));
    outputs[0] = STDOUT_FILENO;
    for (int i = 1; i < count; i++) {
        char *path = argv[optind + i - 1];
        if ((outputs[i] = open(path, O_WRONLY | O_CREAT | how, 0666)) < 0) complain(path);
    }
    ssize_t got;
    while ((got = read(STDIN_FILENO, buffer, sizeof buffer)) > 0)
        for (int i = 0; i < count; i++) {
            if (outputs[i] < 0 || write_all(outputs[i], buffer, got)) continue;
            complain(i ? argv[optind + i - 1] : "standard output");
            outputs[i] = -1;
        }
    if (got < 0) complain("standard input");
    for (int i = 1; i < count; i++)
        if (outputs[i] >= 0 && close(outputs[i]) != 0) complain(argv[optind + i - 1]);
    return finish();
}
