// echo: prints its operands, separated by spaces. -n leaves the newline out; nothing is escaped.
#define PROG "echo"
#define USAGE "[-n] [WORD]..."
#include "common.h"

int main(int argc, char **argv) {
    int first = 1;
    bool newline = true;
    for (; first < argc && strcmp(argv[first], "-n") == 0; first++) newline = false;
    for (int i = first; i < argc; i++) printf("%s%s", i > first ? " " : "", argv[i]);
    if (newline) putchar('\n');
    return finish();
}
