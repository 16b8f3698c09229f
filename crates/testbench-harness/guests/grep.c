// grep: prints the lines that match a basic (default), extended (-E) or fixed (-F) pattern.
//
// Exit status: 0 with a match, 1 without, 2 after an error. A line with a NUL byte is searched up
// to that byte.
#define PROG "grep"
#define USAGE "[-EFchHilnqrvx] [-e] PATTERN [FILE]..."
#define TROUBLE 2
#include <regex.h>

#include "common.h"
#include "lines.h"
#include "tree.h"

static bool fixed, count_only, ignore_case, names_only, numbered, quiet, recursive, invert, whole_line;
static bool with_name, matched_any;
static const char *pattern;
static regex_t expression;

// A fixed pattern as the basic expression that matches exactly it.
static char *quoted(const char *text) {
    char *expression = need(malloc(strlen(text) * 2 + 1)), *end = expression;
    for (; *text; text++) {
        if (strchr("\\.[*^$", *text)) *end++ = '\\';
        *end++ = *text;
    }
    *end = '\0';
    return expression;
}

static void compile(bool extended) {
    char message[256];
    int flags = (extended && !fixed ? REG_EXTENDED : 0) | (ignore_case ? REG_ICASE : 0);
    int why = regcomp(&expression, fixed ? quoted(pattern) : pattern, flags);
    if (why == 0) return;
    regerror(why, &expression, message, sizeof message);
    complain_that("bad pattern '%s': %s", pattern, message);
    exit(TROUBLE);
}

static bool matches(const Line *line) {
    regmatch_t where;
    if (regexec(&expression, line->text, 1, &where, 0) != 0) return false;
    return !whole_line || (where.rm_so == 0 && where.rm_eo == (regoff_t)strlen(line->text));
}

static void search_file(FILE *file, const char *name) {
    unsigned long long number = 0, found = 0;
    for (Line line; read_line(file, &line); free(line.text)) {
        number++;
        if (matches(&line) == invert) continue;
        found++;
        matched_any = true;
        if (quiet || names_only) break;
        if (count_only) continue;
        if (with_name) printf("%s:", name);
        if (numbered) printf("%llu:", number);
        write_line(stdout, &line);
    }
    if (quiet) return;
    if (names_only) {
        if (found) puts(name);
    } else if (count_only) {
        if (with_name) printf("%s:", name);
        printf("%llu\n", found);
    }
}

static void search(const char *path) {
    struct stat at;
    if (recursive && lstat(path, &at) == 0 && S_ISDIR(at.st_mode)) {
        Names list;
        list_directory(path, true, &list);
        for (size_t i = 0; i < list.count; i++) {
            char *inside = join(path, list.names[i]);
            // Symlinks met on the way are not followed; those named as operands are.
            if (lstat(inside, &at) != 0 || !S_ISLNK(at.st_mode)) search(inside);
            free(inside);
        }
        free_names(&list);
        return;
    }
    FILE *file = open_operand(path);
    if (!file) return;
    const char *name = file == stdin ? "(standard input)" : path;
    search_file(file, name);
    close_operand(file, name);
}

int main(int argc, char **argv) {
    bool extended = false;
    int name_choice = 0;
    begin();
    for (int option; (option = next_option(argc, argv, "EFchHilnqrvxe:")) != -1;) switch (option) {
            case 'E': extended = true; break;
            case 'F': fixed = true; break;
            case 'c': count_only = true; break;
            case 'h': name_choice = 'h'; break;
            case 'H': name_choice = 'H'; break;
            case 'i': ignore_case = true; break;
            case 'l': names_only = true; break;
            case 'n': numbered = true; break;
            case 'q': quiet = true; break;
            case 'r': recursive = true; break;
            case 'v': invert = true; break;
            case 'x': whole_line = true; break;
            case 'e': pattern = optarg; break;
        }
    if (!pattern) {
        if (optind == argc) usage();
        pattern = argv[optind++];
    }
    compile(extended);
    with_name = name_choice ? name_choice == 'H' : recursive || argc - optind > 1;
    if (optind == argc) search(recursive ? "." : "-");
    for (int i = optind; i < argc; i++) search(argv[i]);
    finish();
    return status && !(quiet && matched_any) ? status : !matched_any;
}
