// A small stand-in for SQLite's own shell, which the crate libsqlite3-sys leaves out.
//
//   sqlite3 DATABASE [SQL]    without SQL, the statements are read from standard input
//
// Rows are printed with their columns separated by `|`. The first error goes to standard error and
// the status is 1.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sqlite3.h"

static int print_row(void *unused, int count, char **values, char **names) {
    (void)unused, (void)names;
    for (int i = 0; i < count; i++) printf("%s%s", i ? "|" : "", values[i] ? values[i] : "");
    putchar('\n');
    return 0;
}

static char *read_all(FILE *file) {
    size_t length = 0, size = 0;
    char *text = NULL;
    do {
        text = realloc(text, (size = size * 2 + 4096) + 1);
        if (!text) return NULL;
        length += fread(text + length, 1, size - length, file);
    } while (!feof(file) && !ferror(file));
    text[length] = '\0';
    return text;
}

int main(int argc, char **argv) {
    sqlite3 *database = NULL;
    char *message = NULL;
    if (argc < 2 || argc > 3) {
        fputs("usage: sqlite3 DATABASE [SQL]\n", stderr);
        return 1;
    }
    char *sql = argc == 3 ? argv[2] : read_all(stdin);
    if (!sql) {
        fputs("sqlite3: out of memory\n", stderr);
        return 1;
    }
    int failed = sqlite3_open(argv[1], &database) != SQLITE_OK;
    if (failed)
        fprintf(stderr, "sqlite3: %s: %s\n", argv[1], database ? sqlite3_errmsg(database) : "out of memory");
    else if ((failed = sqlite3_exec(database, sql, print_row, NULL, &message) != SQLITE_OK))
        fprintf(stderr, "sqlite3: %s\n", message);
    sqlite3_free(message);
    if (sqlite3_close(database) != SQLITE_OK) failed = 1;
    return failed;
}
