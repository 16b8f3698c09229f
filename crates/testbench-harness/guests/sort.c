// sort: sorts the lines of all its files together, by their bytes.
#define PROG "sort"
#define USAGE "[-rnu] [-o FILE] [FILE]..."
#define TROUBLE 2
#include "common.h"
#include "lines.h"

static bool reverse, numeric, unique;

// A line's leading number as it is written: no precision is lost, however long it is.
typedef struct {
    bool negative;
    const char *digits, *fraction;
    size_t digit_count, fraction_count;
} Number;

static size_t count_digits(const char *text) {
    size_t count = 0;
    while (text[count] >= '0' && text[count] <= '9') count++;
    return count;
}

static Number parse(const char *text) {
    Number parsed = {0};
    while (*text == ' ' || *text == '\t') text++;
    if (*text == '-') parsed.negative = true, text++;
    while (*text == '0') text++;
    parsed.digits = text;
    parsed.digit_count = count_digits(text);
    text += parsed.digit_count;
    parsed.fraction = text;
    if (*text == '.') {
        parsed.fraction = text + 1;
        parsed.fraction_count = count_digits(text + 1);
        while (parsed.fraction_count && parsed.fraction[parsed.fraction_count - 1] == '0')
            parsed.fraction_count--;
    }
    if (parsed.digit_count == 0 && parsed.fraction_count == 0) parsed.negative = false;
    return parsed;
}

static int compare_bytes(const char *left, size_t left_count, const char *right, size_t right_count) {
    int order = memcmp(left, right, left_count < right_count ? left_count : right_count);
    return order ? order : (left_count > right_count) - (left_count < right_count);
}

static int compare_numbers(const char *left, const char *right) {
    Number a = parse(left), b = parse(right);
    if (a.negative != b.negative) return a.negative ? -1 : 1;
    int order = (a.digit_count > b.digit_count) - (a.digit_count < b.digit_count);
    if (!order) order = memcmp(a.digits, b.digits, a.digit_count);
    if (!order) order = compare_bytes(a.fraction, a.fraction_count, b.fraction, b.fraction_count);
    return a.negative ? -order : order;
}

static int compare_keys(const Line *a, const Line *b) {
    return numeric ? compare_numbers(a->text, b->text)
                   : compare_bytes(a->text, a->length, b->text, b->length);
}

// Equal keys fall back on the lines' bytes, then on the order of input (-u keeps the first).
static int compare(const void *left, const void *right) {
    const Line *a = *(Line *const *)left, *b = *(Line *const *)right;
    int order = compare_keys(a, b);
    if (!order && !unique) order = compare_bytes(a->text, a->length, b->text, b->length);
    if (order) return reverse ? -order : order;
    return (a > b) - (a < b);
}

static Line *lines;
static size_t count, capacity;

static void read_all(FILE *file) {
    for (Line line; read_line(file, &line);) {
        if (count == capacity) {
            capacity = capacity ? capacity * 2 : 256;
            lines = need(realloc(lines, capacity * sizeof *lines));
        }
        lines[count++] = line;
    }
}

int main(int argc, char **argv) {
    const char *output = NULL;
    begin();
    for (int option; (option = next_option(argc, argv, "rnuo:")) != -1;) {
        reverse |= option == 'r';
        numeric |= option == 'n';
        unique |= option == 'u';
        if (option == 'o') output = optarg;
    }
    static char *only_stdin[] = {"-", NULL};
    for (char **path = optind < argc ? argv + optind : only_stdin; *path; path++) {
        FILE *file = open_operand(*path);
        if (!file) return finish();
        read_all(file);
        close_operand(file, *path);
    }
    Line **order = need(malloc((count + 1) * sizeof *order));
    for (size_t i = 0; i < count; i++) order[i] = &lines[i];
    qsort(order, count, sizeof *order, compare);
    if (output && !freopen(output, "w", stdout)) {
        complain(output);
        return status;
    }
    for (size_t i = 0; i < count; i++)
        if (!unique || i == 0 || compare_keys(order[i - 1], order[i]) != 0) write_line(stdout, order[i]);
    return finish();
}
