// wc: counts lines, words and bytes.
#define PROG "wc"
#define USAGE "[-lwc] [FILE]..."
#include "common.h"

typedef struct {
    unsigned long long lines, words, bytes;
} Counts;

static bool show_lines, show_words, show_bytes;

static Counts count(FILE *file) {
    Counts counts = {0};
    bool in_word = false;
    for (int byte; (byte = getc(file)) != EOF; counts.bytes++) {
        bool blank = byte == ' ' || (byte >= '\t' && byte <= '\r');
        counts.lines += byte == '\n';
        counts.words += !blank && !in_word;
        in_word = !blank;
    }
    return counts;
}

static void show(Counts counts, const char *name) {
    const char *space = "";
    if (show_lines) printf("%llu", counts.lines), space = " ";
    if (show_words) printf("%s%llu", space, counts.words), space = " ";
    if (show_bytes) printf("%s%llu", space, counts.bytes);
    if (name) printf(" %s", name);
    putchar('\n');
}

int main(int argc, char **argv) {
    Counts total = {0};
    begin();
    for (int option; (option = next_option(argc, argv, "lwc")) != -1;) {
        show_lines |= option == 'l';
        show_words |= option == 'w';
        show_bytes |= option == 'c';
    }
    if (!show_lines && !show_words && !show_bytes) show_lines = show_words = show_bytes = true;
    if (optind == argc) {
        Counts counts = count(stdin);
        close_operand(stdin, "standard input");
        show(counts, NULL);
    }
    for (int i = optind; i < argc; i++) {
        FILE *file = open_operand(argv[i]);
        if (!file) continue;
        Counts counts = count(file);
        close_operand(file, argv[i]);
        show(counts, argv[i]);
        total.lines += counts.lines;
        total.words += counts.words;
        total.bytes += counts.bytes;
    }
    if (argc - optind > 1) show(total, "total");
    return finish();
}
