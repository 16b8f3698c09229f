// ls: lists directories, one name a line, in the order of the names' bytes.
//
// -l prints type, links, size in bytes, time of modification and name: WASI has no permissions and
// no owners.
#define PROG "ls"
#define USAGE "[-aAdFilR1] [FILE]..."
#define TROUBLE 2
#include "common.h"
#include "tree.h"

static bool all, hidden, as_file, classify, inodes, details, recursive;

static char type_letter(mode_t mode) {
    return S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : S_ISCHR(mode) ? 'c' : S_ISREG(mode) ? '-' : '?';
}

static void show(const char *path, const char *name, const struct stat *found) {
    char time[RFC3339_MAX];
    if (inodes) printf("%llu ", (unsigned long long)found->st_ino);
    if (details)
        printf("%c %llu %lld %s ", type_letter(found->st_mode), (unsigned long long)found->st_nlink,
               (long long)found->st_size, rfc3339(found->st_mtim, time));
    fputs(name, stdout);
    if (details && S_ISLNK(found->st_mode)) {
        char *target = read_link(path, found->st_size);
        if (target)
            printf(" -> %s", target);
        else
            complain(path);
        free(target);
    } else if (classify && (S_ISDIR(found->st_mode) || S_ISLNK(found->st_mode))) {
        putchar(S_ISDIR(found->st_mode) ? '/' : '@');
    }
    putchar('\n');
}

static void show_path(const char *path, const char *name) {
    struct stat found = {0};
    if ((details || inodes || classify) && lstat(path, &found) != 0)
        complain(path);
    else
        show(path, name, &found);
}

static void list(const char *path, bool titled) {
    static bool not_first;
    Names entries;
    if (!list_directory(path, true, &entries)) return;
    if (titled) printf("%s%s:\n", not_first ? "\n" : "", path);
    not_first = true;
    for (int i = 0; all && i < 2; i++) {
        char *dots = join(path, i ? ".." : ".");
        // `..` of a mount's root is out of reach; it is shown as the root itself, as in POSIX.
        struct stat found;
        show_path(i && lstat(dots, &found) != 0 ? path : dots, i ? ".." : ".");
        free(dots);
    }
    for (size_t i = 0; i < entries.count; i++) {
        if (entries.names[i][0] == '.' && !hidden) continue;
        char *inside = join(path, entries.names[i]);
        show_path(inside, entries.names[i]);
        free(inside);
    }
    for (size_t i = 0; recursive && i < entries.count; i++) {
        struct stat found;
        if (entries.names[i][0] == '.' && !hidden) continue;
        char *inside = join(path, entries.names[i]);
        if (lstat(inside, &found) == 0 && S_ISDIR(found.st_mode)) list(inside, true);
        free(inside);
    }
    free_names(&entries);
}

int main(int argc, char **argv) {
    begin();
    for (int option; (option = next_option(argc, argv, "aAdFilR1")) != -1;) {
        all |= option == 'a';
        hidden |= option == 'a' || option == 'A';
        as_file |= option == 'd';
        classify |= option == 'F';
        inodes |= option == 'i';
        details |= option == 'l';
        recursive |= option == 'R';
    }
    static char *here[] = {".", NULL};
    char **operands = optind < argc ? argv + optind : here;
    size_t count = optind < argc ? (size_t)(argc - optind) : 1;
    bool *is_listed = need(calloc(count, sizeof *is_listed));
    qsort(operands, count, sizeof *operands, compare_names);
    for (size_t i = 0; i < count; i++) {
        struct stat found;
        // Like POSIX: a symlink to a directory is followed, unless details are asked for.
        bool exists = lstat(operands[i], &found) == 0;
        if (!exists) complain(operands[i]);
        is_listed[i] = exists && !as_file &&
                       (S_ISDIR(found.st_mode) || (!details && is_directory(operands[i])));
        if (exists && !is_listed[i]) show(operands[i], operands[i], &found);
    }
    for (size_t i = 0; i < count; i++)
        if (is_listed[i]) list(operands[i], recursive || count > 1);
    return finish();
}
