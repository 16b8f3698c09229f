// date: prints the wall clock, or a file's time of modification, in UTC.
//
// Without a format: RFC 3339 with nanoseconds. +FORMAT is strftime's, and %N the nanoseconds.
#define PROG "date"
#define USAGE "[-u] [-r FILE] [+FORMAT]"
#include "common.h"

// strftime knows no nanoseconds: puts them in before it sees the format.
static char *with_nanoseconds(const char *format, long ns) {
    char *expanded = need(malloc(strlen(format) * 5 + 10)), *end = expanded;
    for (; *format; format++) {
        if (format[0] == '%' && format[1] == 'N') {
            end += sprintf(end, "%09ld", ns);
            format++;
        } else {
            *end++ = *format;
            if (format[0] == '%' && format[1]) *end++ = *++format;
        }
    }
    *end = '\0';
    return expanded;
}

int main(int argc, char **argv) {
    const char *reference = NULL;
    struct timespec when;
    begin();
    for (int option; (option = next_option(argc, argv, "ur:")) != -1;)
        if (option == 'r') reference = optarg;
    if (argc - optind > 1 || (optind < argc && argv[optind][0] != '+')) usage();
    if (reference) {
        struct stat found;
        if (stat(reference, &found) != 0) {
            complain(reference);
            return finish();
        }
        when = found.st_mtim;
    } else if (clock_gettime(CLOCK_REALTIME, &when) != 0) {
        complain("clock_gettime");
        return finish();
    }
    if (optind == argc) {
        char text[RFC3339_MAX];
        puts(rfc3339(when, text));
        return finish();
    }
    static char text[4096];
    struct tm parts;
    time_t seconds = when.tv_sec;
    char *format = with_nanoseconds(argv[optind] + 1, when.tv_nsec);
    if (!gmtime_r(&seconds, &parts) || (*format && strftime(text, sizeof text, format, &parts) == 0)) {
        complain_that("the time does not fit the format '%s'", argv[optind]);
        return finish();
    }
    puts(text);
    return finish();
}
