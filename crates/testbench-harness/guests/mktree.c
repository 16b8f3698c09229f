// mktree: writes a tree of files. DEPTH levels of directories under DIR, WIDTH in each, and WIDTH
// files in each of the deepest: `mktree d 10 2` makes 1,000 files in 111 directories.
#define PROG "mktree"
#define USAGE "[-s BYTES] DIR WIDTH DEPTH"
#include "common.h"

static long long width, size = -1, files, directories, bytes;

static bool write_file(const char *path) {
    FILE *file = fopen(path, "w");
    if (!file) {
        complain(path);
        return false;
    }
    // The default content names the file; a given size is filled with lines that can be told apart.
    if (size < 0) bytes += fprintf(file, "%s\n", path);
    for (long long written = 0, line = 1; written < size; line++) {
        char text[32];
        int length = snprintf(text, sizeof text, "line %lld\n", line);
        if (length > size - written) length = (int)(size - written);
        written += (long long)fwrite(text, 1, (size_t)length, file);
        if (ferror(file)) break;
    }
    if (size > 0) bytes += size;
    bool failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        complain(path);
        return false;
    }
    files++;
    return true;
}

static bool fill(const char *directory, long long depth) {
    if (mkdir(directory, 0777) != 0 && (errno != EEXIST || !is_directory(directory))) {
        complain(directory);
        return false;
    }
    directories++;
    bool filled = true;
    for (long long i = 0; filled && i < width; i++) {
        char name[32];
        snprintf(name, sizeof name, depth ? "d%lld" : "f%lld.txt", i);
        char *path = join(directory, name);
        filled = depth ? fill(path, depth - 1) : write_file(path);
        free(path);
    }
    return filled;
}

int main(int argc, char **argv) {
    begin();
    while (next_option(argc, argv, "s:") != -1) size = number(optarg);
    if (argc - optind != 3) usage();
    width = number(argv[optind + 1]);
    fill(argv[optind], number(argv[optind + 2]));
    printf("%lld files, %lld directories, %lld bytes\n", files, directories, bytes);
    return finish();
}
