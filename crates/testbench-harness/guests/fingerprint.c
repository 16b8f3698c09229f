// fingerprint: prints everything that a host must make the same in every run: both clocks and
// their resolutions, random bytes, arguments, environment, descriptors, and for each DIR (default
// `.`) its tree in the order in which the host lists it, with inode and device numbers, links,
// sizes and times.
//
// -p leaves out what holds paths of the host: arguments, environment, working directory and the
// names of preopened directories.
#define PROG "fingerprint"
#define USAGE "[-p] [DIR]..."
#include <wasi/api.h>

#include "common.h"
#include "tree.h"

extern char **environ;

static void show_clock(const char *name, clockid_t clock) {
    struct timespec now, resolution;
    if (clock_gettime(clock, &now) != 0 || clock_getres(clock, &resolution) != 0) {
        complain(name);
        return;
    }
    printf("clock %s %lld.%09ld resolution %lld.%09ld\n", name, (long long)now.tv_sec, now.tv_nsec,
           (long long)resolution.tv_sec, resolution.tv_nsec);
}

static void show_random(void) {
    uint8_t bytes[32];
    if (getentropy(bytes, sizeof bytes) != 0) {
        complain("getentropy");
        return;
    }
    fputs("random ", stdout);
    for (size_t i = 0; i < sizeof bytes; i++) printf("%02x", bytes[i]);
    putchar('\n');
}

static void show_paths(int argc, char **argv) {
    char *cwd = getcwd(NULL, 0);
    printf("cwd %s\n", cwd ? cwd : "(none)");
    free(cwd);
    for (int i = 0; i < argc; i++) printf("arg %d %s\n", i, argv[i]);
    for (char **variable = environ; variable && *variable; variable++) printf("env %s\n", *variable);
}

// Descriptors as the host describes them: type, flags and both sets of rights.
static void show_descriptors(bool with_paths) {
    for (__wasi_fd_t fd = 0; fd < 16; fd++) {
        __wasi_fdstat_t state;
        __wasi_prestat_t preopen;
        static uint8_t name[PATH_MAX];
        if (__wasi_fd_fdstat_get(fd, &state) != 0) continue;
        printf("fd %u type %u flags %u rights %llx inheriting %llx", (unsigned)fd, state.fs_filetype,
               state.fs_flags, (unsigned long long)state.fs_rights_base,
               (unsigned long long)state.fs_rights_inheriting);
        if (__wasi_fd_prestat_get(fd, &preopen) == 0) {
            size_t length = preopen.u.dir.pr_name_len;
            if (!with_paths)
                fputs(" preopened", stdout);
            else if (length <= sizeof name && __wasi_fd_prestat_dir_name(fd, name, length) == 0)
                printf(" preopened as %.*s", (int)length, (const char *)name);
        }
        putchar('\n');
    }
}

static void show_file(const char *path) {
    struct stat found;
    char accessed[RFC3339_MAX], modified[RFC3339_MAX], changed[RFC3339_MAX];
    if (lstat(path, &found) != 0) {
        complain(path);
        return;
    }
    printf("file %s mode %06o dev %llu ino %llu nlink %llu size %lld atime %s mtime %s ctime %s\n", path,
           (unsigned)found.st_mode, (unsigned long long)found.st_dev, (unsigned long long)found.st_ino,
           (unsigned long long)found.st_nlink, (long long)found.st_size, rfc3339(found.st_atim, accessed),
           rfc3339(found.st_mtim, modified), rfc3339(found.st_ctim, changed));
    if (S_ISLNK(found.st_mode)) {
        char *target = read_link(path, found.st_size);
        printf("link %s -> %s\n", path, target ? target : strerror(errno));
        free(target);
    }
    if (!S_ISDIR(found.st_mode)) return;
    Names list;
    if (!list_directory(path, false, &list)) return;
    for (size_t i = 0; i < list.count; i++) {
        char *inside = join(path, list.names[i]);
        show_file(inside);
        free(inside);
    }
    free_names(&list);
}

int main(int argc, char **argv) {
    bool with_paths = true;
    begin();
    while (next_option(argc, argv, "p") != -1) with_paths = false;
    show_clock("wall", CLOCK_REALTIME);
    show_clock("mono", CLOCK_MONOTONIC);
    show_random();
    if (with_paths) show_paths(argc, argv);
    show_descriptors(with_paths);
    static char *here[] = {".", NULL};
    for (char **path = optind < argc ? argv + optind : here; *path; path++) show_file(*path);
    return finish();
}
