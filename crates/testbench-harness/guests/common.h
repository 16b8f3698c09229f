// What every guest program shares: its name in messages, options, the working directory, exit.
//
// A program defines these before it includes this file:
//   PROG     its name, the first word of every message (argv[0] is the caller's to choose)
//   USAGE    what follows the name on the usage line
//   TROUBLE  its exit status after an error
//
// Files are named as in POSIX. All times are in nanoseconds; all text is bytes.
#ifndef COMMON_H
#define COMMON_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef TROUBLE
#define TROUBLE 1
#endif

// Not every program uses every helper.
#define HELPER __attribute__((unused)) static

#define NS_PER_S 1000000000LL

// The exit status so far: errors about one operand let the others go on.
static int status;

// Begins a program. A POSIX process starts in the directory that PWD names; wasi-libc starts at
// "/". Where PWD is not to be reached, paths stay relative to the `.` or `/` that was preopened.
HELPER void begin(void) {
    const char *pwd = getenv("PWD");
    if (pwd && pwd[0] == '/') (void)chdir(pwd);
}

// Ends a program: output that cannot be written is an error like any other.
HELPER int finish(void) {
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "%s: write error: %s\n", PROG, strerror(errno));
        status = TROUBLE;
    }
    return status;
}

// Reports the current `errno` about `path`.
HELPER void complain(const char *path) {
    int why = errno;
    fflush(stdout);
    fprintf(stderr, "%s: %s: %s\n", PROG, path, strerror(why));
    status = TROUBLE;
}

// Reports anything else.
__attribute__((format(printf, 1, 2))) HELPER void complain_that(const char *format, ...) {
    va_list values;
    fflush(stdout);
    fprintf(stderr, "%s: ", PROG);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    status = TROUBLE;
}

_Noreturn HELPER void usage(void) {
    fprintf(stderr, "usage: %s %s\n", PROG, USAGE);
    exit(TROUBLE);
}

// `getopt` with our name in the message, whatever argv[0] is.
HELPER int next_option(int argc, char **argv, const char *letters) {
    opterr = 0;
    int option = getopt(argc, argv, letters);
    if (option == '?') {
        complain_that("option -%c is unknown or lacks its argument", optopt);
        usage();
    }
    return option;
}

HELPER void *need(void *memory) {
    if (!memory) {
        fprintf(stderr, "%s: out of memory\n", PROG);
        exit(TROUBLE);
    }
    return memory;
}

HELPER char *join(const char *directory, const char *name) {
    size_t length = strlen(directory);
    const char *slash = length > 0 && directory[length - 1] == '/' ? "" : "/";
    char *path = need(malloc(length + strlen(name) + 2));
    sprintf(path, "%s%s%s", directory, slash, name);
    return path;
}

// The last component of a path, without trailing slashes; the caller frees it.
HELPER char *base_name(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') end--;
    if (end == 1) return need(strndup(path, 1));
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') start--;
    return need(strndup(path + start, end - start));
}

HELPER bool is_directory(const char *path) {
    struct stat found;
    return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

// Parses a whole, unsigned decimal number; exits with a message if it is not one.
HELPER long long number(const char *text) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno) {
        complain_that("invalid number '%s'", text);
        exit(TROUBLE);
    }
    return value;
}

// Parses `3`, `0.25`, `90s`, `20m`, `1h`, `2d` exactly, without floating point, into nanoseconds.
// Digits after the ninth decimal are dropped. Returns false if it is not such an interval.
HELPER bool parse_interval(const char *text, long long *ns) {
    long long whole = 0, fraction = 0, scale = NS_PER_S, unit = 1;
    bool digits = false;
    for (; *text >= '0' && *text <= '9'; text++, digits = true)
        if (__builtin_mul_overflow(whole, 10, &whole) ||
            __builtin_add_overflow(whole, *text - '0', &whole))
            return false;
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, digits = true)
            fraction += (*text - '0') * (scale /= 10);
    if (*text == 'm') unit = 60;
    if (*text == 'h') unit = 60 * 60;
    if (*text == 'd') unit = 24 * 60 * 60;
    if (*text == 's' || unit > 1) text++;
    return digits && *text == '\0' && !__builtin_mul_overflow(whole, NS_PER_S, ns) &&
           !__builtin_add_overflow(*ns, fraction, ns) && !__builtin_mul_overflow(*ns, unit, ns);
}

HELPER long long interval(const char *text) {
    long long ns;
    if (!parse_interval(text, &ns)) {
        complain_that("invalid time interval '%s' (expected for instance 3, 0.25, 90s, 20m, 1h)", text);
        exit(TROUBLE);
    }
    return ns;
}

HELPER void sleep_ns(long long ns) {
    struct timespec left = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    while (nanosleep(&left, &left) != 0)
        if (errno != EINTR) {
            complain("nanosleep");
            exit(TROUBLE);
        }
}

#define RFC3339_MAX 48

// Writes an instant as RFC 3339 in UTC with nanoseconds.
HELPER const char *rfc3339(struct timespec when, char text[RFC3339_MAX]) {
    struct tm parts;
    time_t seconds = when.tv_sec;
    if (!gmtime_r(&seconds, &parts)) return "(time out of range)";
    size_t length = strftime(text, RFC3339_MAX, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + length, RFC3339_MAX - length, ".%09ldZ", (long)when.tv_nsec);
    return text;
}

// Copies what is left of `from` to `to`. On failure returns false, with errno set and `*culprit`
// naming the side that failed.
HELPER bool copy_bytes(int from, int to, const char **culprit, const char *source, const char *target) {
    static char buffer[16 * 1024];
    for (;;) {
        ssize_t count = read(from, buffer, sizeof buffer);
        *culprit = source;
        if (count <= 0) return count == 0;
        *culprit = target;
        for (ssize_t done = 0, wrote; done < count; done += wrote)
            if ((wrote = write(to, buffer + done, count - done)) < 0) return false;
    }
}

// Opens an operand for reading as a stream; `-` is standard input.
HELPER FILE *open_operand(const char *path) {
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (!file) complain(path);
    return file;
}

// Closes what open_operand gave; `name` is for the message when reading failed.
HELPER void close_operand(FILE *file, const char *name) {
    if (ferror(file)) complain(name);
    if (file != stdin) fclose(file);
}

#endif
