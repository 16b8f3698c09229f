// touch: sets the times of files to now, or to a given time; makes the files that do not exist.
#define PROG "touch"
#define USAGE "[-c] [-d @SECONDS | -d YYYY-MM-DDTHH:MM:SS[.FRACTION]Z | -r FILE] FILE..."
#include "common.h"

static struct timespec parse_date(const char *text) {
    struct timespec when = {0};
    struct tm parts = {0};
    long long ns;
    if (text[0] == '@' && parse_interval(text + 1, &ns))
        return (struct timespec){.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest) {
        when.tv_sec = timegm(&parts);
        long scale = NS_PER_S;
        if (*rest == '.')
            for (rest++; *rest >= '0' && *rest <= '9'; rest++) when.tv_nsec += (*rest - '0') * (scale /= 10);
        if (strcmp(rest, "Z") == 0) return when;
    }
    complain_that("invalid date '%s' (expected for instance 2000-01-01T00:00:00Z or @946684800)", text);
    exit(TROUBLE);
}

int main(int argc, char **argv) {
    bool create = true;
    struct timespec times[2];
    // Read from the clock: this wasi-libc mistakes both UTIME_NOW and a null pointer for other times.
    if (clock_gettime(CLOCK_REALTIME, &times[0]) != 0) complain("clock_gettime");
    times[1] = times[0];
    begin();
    for (int option; (option = next_option(argc, argv, "cd:r:")) != -1;) {
        struct stat found;
        if (option == 'c') create = false;
        if (option == 'd') times[0] = times[1] = parse_date(optarg);
        if (option != 'r') continue;
        if (stat(optarg, &found) != 0) {
            complain(optarg);
            return finish();
        }
        times[0] = found.st_atim;
        times[1] = found.st_mtim;
    }
    if (optind == argc) usage();
    for (int i = optind; i < argc; i++) {
        if (utimensat(AT_FDCWD, argv[i], times, 0) == 0) continue;
        if (errno != ENOENT) {
            complain(argv[i]);
            continue;
        }
        if (!create) continue;
        int made = open(argv[i], O_WRONLY | O_CREAT, 0666);
        if (made < 0 || close(made) != 0 || utimensat(AT_FDCWD, argv[i], times, 0) != 0) complain(argv[i]);
    }
    return finish();
}
