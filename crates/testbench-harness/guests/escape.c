// escape: tries operations on paths that may lead out of a directory, and prints the answer of the
// host to each: `OP PATH: OK` or the name of the errno.
//
// It calls WASI directly, on one preopened directory (-d, default 3), so that no C library changes
// the path or chooses another directory on the way. -n does not follow a symlink at the end.
//
// Operations: open read list write create mkdir rmdir unlink stat readlink touch, each on every
// PATH; rename and link on pairs OLD NEW; symlink on pairs TARGET PATH.
//
// Exit status: 0 if every attempt was refused, 1 if one succeeded, 2 after a usage error.
#define PROG "escape"
#define USAGE "[-n] [-d FD] OPERATION PATH..."
#define TROUBLE 2
#include <wasi/api.h>

#include "common.h"

static __wasi_fd_t directory = 3;
static __wasi_lookupflags_t follow = __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW;

static const char *errno_name(__wasi_errno_t code) {
    // In the order of the specification, from 1.
    static const char *const names[] = {
    "E2BIG", "EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "EALREADY", "EBADF",
    "EBADMSG", "EBUSY", "ECANCELED", "ECHILD", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EDEADLK",
    "EDESTADDRREQ", "EDOM", "EDQUOT", "EEXIST", "EFAULT", "EFBIG", "EHOSTUNREACH", "EIDRM", "EILSEQ",
    "EINPROGRESS", "EINTR", "EINVAL", "EIO", "EISCONN", "EISDIR", "ELOOP", "EMFILE", "EMLINK",
    "EMSGSIZE", "EMULTIHOP", "ENAMETOOLONG", "ENETDOWN", "ENETRESET", "ENETUNREACH", "ENFILE",
    "ENOBUFS", "ENODEV", "ENOENT", "ENOEXEC", "ENOLCK", "ENOLINK", "ENOMEM", "ENOMSG", "ENOPROTOOPT",
    "ENOSPC", "ENOSYS", "ENOTCONN", "ENOTDIR", "ENOTEMPTY", "ENOTRECOVERABLE", "ENOTSOCK", "ENOTSUP",
    "ENOTTY", "ENXIO", "EOVERFLOW", "EOWNERDEAD", "EPERM", "EPIPE", "EPROTO", "EPROTONOSUPPORT",
    "EPROTOTYPE", "ERANGE", "EROFS", "ESPIPE", "ESRCH", "ESTALE", "ETIMEDOUT", "ETXTBSY", "EXDEV",
    "ENOTCAPABLE",
    };
    if (code == 0) return "OK";
    return code <= sizeof names / sizeof *names ? names[code - 1] : "an errno that does not exist";
}

static __wasi_errno_t open_path(const char *path, __wasi_oflags_t how, __wasi_rights_t rights, __wasi_fd_t *file) {
    return __wasi_path_open(directory, follow, path, how, rights, 0, 0, file);
}

static __wasi_errno_t try_open(const char *path) {
    __wasi_fd_t file;
    __wasi_errno_t code = open_path(path, 0, __WASI_RIGHTS_FD_READ, &file);
    return code ? code : __wasi_fd_close(file);
}

// Prints what it could read, up to the end of the first line.
static __wasi_errno_t try_read(const char *path) {
    static uint8_t buffer[128];
    __wasi_fd_t file;
    __wasi_size_t count = 0;
    __wasi_iovec_t into = {.buf = buffer, .buf_len = sizeof buffer};
    __wasi_errno_t code = open_path(path, 0, __WASI_RIGHTS_FD_READ, &file);
    if (code) return code;
    code = __wasi_fd_read(file, &into, 1, &count);
    if (!code) printf("read %s gave: %.*s\n", path, (int)strcspn((char *)buffer, "\n"), (char *)buffer);
    memset(buffer, 0, sizeof buffer);
    __wasi_errno_t closed = __wasi_fd_close(file);
    return code ? code : closed;
}

static __wasi_errno_t try_list(const char *path) {
    static uint8_t buffer[1024];
    __wasi_fd_t file;
    __wasi_size_t used = 0;
    __wasi_errno_t code = open_path(path, __WASI_OFLAGS_DIRECTORY, __WASI_RIGHTS_FD_READDIR, &file);
    if (code) return code;
    code = __wasi_fd_readdir(file, buffer, sizeof buffer, __WASI_DIRCOOKIE_START, &used);
    __wasi_errno_t closed = __wasi_fd_close(file);
    return code ? code : closed;
}

static __wasi_errno_t write_with(const char *path, __wasi_oflags_t how) {
    static const uint8_t text[] = "written by escape\n";
    __wasi_fd_t file;
    __wasi_size_t count = 0;
    __wasi_ciovec_t from = {.buf = text, .buf_len = sizeof text - 1};
    __wasi_errno_t code = open_path(path, how, __WASI_RIGHTS_FD_WRITE, &file);
    if (code) return code;
    code = __wasi_fd_write(file, &from, 1, &count);
    __wasi_errno_t closed = __wasi_fd_close(file);
    return code ? code : closed;
}

static __wasi_errno_t try_write(const char *path) { return write_with(path, __WASI_OFLAGS_TRUNC); }

static __wasi_errno_t try_create(const char *path) {
    return write_with(path, __WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL);
}

static __wasi_errno_t try_mkdir(const char *path) { return __wasi_path_create_directory(directory, path); }

static __wasi_errno_t try_rmdir(const char *path) { return __wasi_path_remove_directory(directory, path); }

static __wasi_errno_t try_unlink(const char *path) { return __wasi_path_unlink_file(directory, path); }

static __wasi_errno_t try_stat(const char *path) {
    __wasi_filestat_t found;
    return __wasi_path_filestat_get(directory, follow, path, &found);
}

static __wasi_errno_t try_readlink(const char *path) {
    static uint8_t buffer[PATH_MAX];
    __wasi_size_t length;
    __wasi_errno_t code = __wasi_path_readlink(directory, path, buffer, sizeof buffer, &length);
    if (!code) printf("readlink %s gave: %.*s\n", path, (int)length, (char *)buffer);
    return code;
}

static __wasi_errno_t try_touch(const char *path) {
    return __wasi_path_filestat_set_times(directory, follow, path, 0, 0,
                                          __WASI_FSTFLAGS_ATIM_NOW | __WASI_FSTFLAGS_MTIM_NOW);
}

static __wasi_errno_t try_rename(const char *old, const char *new) {
    return __wasi_path_rename(directory, old, directory, new);
}

static __wasi_errno_t try_link(const char *old, const char *new) {
    // POSIX leaves open whether link follows; without -n the host is asked to.
    return __wasi_path_link(directory, follow, old, directory, new);
}

static __wasi_errno_t try_symlink(const char *target, const char *path) {
    return __wasi_path_symlink(target, directory, path);
}

static const struct {
    const char *name;
    __wasi_errno_t (*one)(const char *path);
    __wasi_errno_t (*two)(const char *first, const char *second);
} operations[] = {
    {.name = "open", .one = try_open},         {.name = "read", .one = try_read},
    {.name = "list", .one = try_list},         {.name = "write", .one = try_write},
    {.name = "create", .one = try_create},     {.name = "mkdir", .one = try_mkdir},
    {.name = "rmdir", .one = try_rmdir},       {.name = "unlink", .one = try_unlink},
    {.name = "stat", .one = try_stat},         {.name = "readlink", .one = try_readlink},
    {.name = "touch", .one = try_touch},       {.name = "rename", .two = try_rename},
    {.name = "link", .two = try_link},         {.name = "symlink", .two = try_symlink},
};

int main(int argc, char **argv) {
    for (int option; (option = next_option(argc, argv, "nd:")) != -1;)
        if (option == 'n')
            follow = 0;
        else
            directory = (__wasi_fd_t)number(optarg);
    if (argc - optind < 2) usage();
    const char *name = argv[optind++];
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (strcmp(operations[i].name, name) != 0) continue;
        if (operations[i].two && (argc - optind) % 2 != 0) usage();
        while (optind < argc) {
            const char *first = argv[optind++], *second = operations[i].two ? argv[optind++] : NULL;
            __wasi_errno_t code = second ? operations[i].two(first, second) : operations[i].one(first);
            printf("%s %s%s%s: %s\n", name, first, second ? " " : "", second ? second : "", errno_name(code));
            if (code == 0) status = 1;
        }
        return finish();
    }
    complain_that("no operation is called '%s'", name);
    usage();
}
