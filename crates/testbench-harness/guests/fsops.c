// fsops: carries out file operations that it reads from standard input, one a line, and prints the
// answer of the host to each. It calls WASI directly, so that no C library changes an operation.
//
// A line is an operation and its arguments, separated by single spaces. SLOT is where an open
// descriptor is kept, 0 to 9: 0 is the preopened directory (descriptor 3), 8 standard input, 9
// standard error. The others start out closed. Paths and texts begin with `=` and hold no spaces.
// Flags and enumerations are WASI's numbers.
//
//   open SLOT DIR LOOKUPFLAGS OFLAGS RIGHTS FDFLAGS =PATH     readdir SLOT BUFFER-SIZE
//   close SLOT             renumber SLOT TO                   mkdir DIR =PATH
//   read SLOT COUNT        readv SLOT COUNT COUNT             rmdir DIR =PATH
//   write SLOT =TEXT       writev SLOT =TEXT =TEXT            unlink DIR =PATH
//   fill SLOT BYTE COUNT   pread SLOT COUNT OFFSET            rename DIR =OLD DIR =NEW
//   pwrite SLOT =TEXT OFFSET                                  link LOOKUPFLAGS DIR =OLD DIR =NEW
//   seek SLOT OFFSET WHENCE    tell SLOT                      symlink =TARGET DIR =PATH
//   size SLOT SIZE         allocate SLOT OFFSET LENGTH        readlink DIR =PATH BUFFER-SIZE
//   flags SLOT FDFLAGS     fdstat SLOT                        stat DIR LOOKUPFLAGS =PATH
//   advise SLOT OFFSET LENGTH ADVICE                          times DIR LOOKUPFLAGS =PATH ATIM MTIM FSTFLAGS
//   sync SLOT              datasync SLOT                      same DIR =PATH DIR =PATH
//   fstat SLOT             ftimes SLOT ATIM MTIM FSTFLAGS     poll SLOT read|write
//
// The answer to a line is the operation, what was found, and `= ERRNO` in WASI's number. What one
// host does in one call and another in several comes out alike: reads and writes of two buffers go
// on until nothing is left, and where `allocate` is not supported the file is extended. Of
// directories neither size nor links are shown. Times of access are shown right after they were
// set, since reading may change them.
#define PROG "fsops"
#define USAGE "< OPERATIONS"
#define TROUBLE 2
#include <wasi/api.h>

#include "common.h"

enum { SLOTS = 10, CLOSED = 12345, SCRIPT_BYTES_MAX = 1024 * 1024, BUFFER_BYTES = 256 * 1024 };

static __wasi_fd_t slots[SLOTS] = {3, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, CLOSED, 0, 2};
// With what rights each was asked for.
static __wasi_rights_t rights_of[SLOTS];
static uint8_t buffer[BUFFER_BYTES];

// The next argument of the line that strtok has begun.
static char *word(void) {
    char *found = strtok(NULL, " ");
    if (!found) {
        complain_that("an argument is missing");
        exit(TROUBLE);
    }
    return found;
}

static char *text(void) {
    char *found = word();
    if (*found != '=') {
        complain_that("'%s' should begin with =", found);
        exit(TROUBLE);
    }
    return found + 1;
}

static uint64_t num(void) { return strtoull(word(), NULL, 10); }
static int64_t signed_num(void) { return strtoll(word(), NULL, 10); }

static unsigned slot(void) {
    uint64_t index = num();
    if (index >= SLOTS) {
        complain_that("there are %d slots", SLOTS);
        exit(TROUBLE);
    }
    return index;
}

static __wasi_fd_t fd(void) { return slots[slot()]; }

static uint32_t count_in_buffer(void) {
    uint64_t count = num();
    return count < BUFFER_BYTES ? count : BUFFER_BYTES;
}

// Short content as it is, long content as a hash.
static void show(const uint8_t *bytes, size_t length) {
    printf(" %zu ", length);
    if (length > 64) {
        uint64_t hash = 0xcbf29ce484222325;
        for (size_t i = 0; i < length; i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
        printf("#%016llx", (unsigned long long)hash);
        return;
    }
    putchar('"');
    for (size_t i = 0; i < length; i++)
        if (bytes[i] > ' ' && bytes[i] < 127 && bytes[i] != '\\') putchar(bytes[i]);
        else printf("\\%02x", bytes[i]);
    putchar('"');
}

static void show_stat(const __wasi_filestat_t *stat) {
    printf(" type=%d", stat->filetype);
    if (stat->filetype != __WASI_FILETYPE_DIRECTORY)
        printf(" nlink=%llu size=%llu", (unsigned long long)stat->nlink, (unsigned long long)stat->size);
    printf(" mtim=%llu", (unsigned long long)stat->mtim);
}

static __wasi_errno_t open_slot(void) {
    unsigned to = slot();
    __wasi_fd_t directory = fd(), opened;
    __wasi_lookupflags_t lookup = num();
    __wasi_oflags_t oflags = num();
    __wasi_rights_t rights = num();
    __wasi_fdflags_t fdflags = num();
    char *path = text();
    __wasi_errno_t code = __wasi_path_open(directory, lookup, path, oflags, rights, rights, fdflags, &opened);
    if (code) return code;
    // What a slot held before is closed afterwards, so that a file may be opened below itself.
    if (slots[to] != CLOSED && __wasi_fd_close(slots[to]) != 0) printf(" (the slot's old descriptor was bad)");
    slots[to] = opened;
    rights_of[to] = rights;
    return 0;
}

static __wasi_errno_t close_slot(void) {
    unsigned which = slot();
    __wasi_errno_t code = __wasi_fd_close(slots[which]);
    slots[which] = CLOSED;
    return code;
}

static __wasi_errno_t renumber(void) {
    unsigned from = slot(), to = slot();
    __wasi_errno_t code = __wasi_fd_renumber(slots[from], slots[to]);
    if (!code && from != to) slots[from] = CLOSED, rights_of[to] = rights_of[from];
    return code;
}

// Reads into one buffer or two, until they are full or nothing comes.
static __wasi_errno_t read_into(unsigned buffers) {
    __wasi_fd_t from = fd();
    uint32_t wanted[2] = {0}, got = 0;
    for (unsigned i = 0; i < buffers; i++) wanted[i] = count_in_buffer() / buffers;
    uint32_t total = wanted[0] + wanted[1];
    do {
        uint32_t first = got < wanted[0] ? wanted[0] - got : 0;
        __wasi_iovec_t into[2] = {{buffer + got, first}, {buffer + got + first, total - got - first}};
        __wasi_size_t count = 0;
        __wasi_errno_t code = __wasi_fd_read(from, into, buffers, &count);
        if (code) return code;
        got += count;
        if (count == 0) break;
    } while (buffers > 1 && got < total);
    show(buffer, got);
    return 0;
}

static __wasi_errno_t pread_slot(void) {
    __wasi_fd_t from = fd();
    __wasi_iovec_t into = {buffer, count_in_buffer()};
    __wasi_size_t count = 0;
    __wasi_errno_t code = __wasi_fd_pread(from, &into, 1, num(), &count);
    if (!code) show(buffer, count);
    return code;
}

static __wasi_errno_t write_from(unsigned buffers) {
    __wasi_fd_t to = fd();
    __wasi_ciovec_t from[2] = {{0}};
    uint32_t done = 0, total = 0;
    for (unsigned i = 0; i < buffers; i++) {
        from[i].buf = (uint8_t *)text();
        from[i].buf_len = strlen((const char *)from[i].buf);
        total += from[i].buf_len;
    }
    do {
        __wasi_size_t count = 0;
        __wasi_errno_t code = __wasi_fd_write(to, from, buffers, &count);
        if (code) return code;
        done += count;
        for (unsigned i = 0; i < buffers; i++) {
            uint32_t taken = count < from[i].buf_len ? count : from[i].buf_len;
            from[i].buf += taken, from[i].buf_len -= taken, count -= taken;
        }
    } while (buffers > 1 && done < total);
    printf(" %u", (unsigned)done);
    return 0;
}

static __wasi_errno_t fill(void) {
    __wasi_fd_t to = fd();
    uint8_t byte = num();
    __wasi_ciovec_t from = {buffer, count_in_buffer()};
    __wasi_size_t count = 0;
    memset(buffer, byte, from.buf_len);
    __wasi_errno_t code = __wasi_fd_write(to, &from, 1, &count);
    if (!code) printf(" %u", (unsigned)count);
    return code;
}

static __wasi_errno_t pwrite_slot(void) {
    __wasi_fd_t to = fd();
    __wasi_ciovec_t from = {.buf = (uint8_t *)text()};
    from.buf_len = strlen((const char *)from.buf);
    __wasi_size_t count = 0;
    __wasi_errno_t code = __wasi_fd_pwrite(to, &from, 1, num(), &count);
    if (!code) printf(" %u", (unsigned)count);
    return code;
}

static __wasi_errno_t seek(void) {
    __wasi_fd_t of = fd();
    int64_t offset = signed_num();
    __wasi_filesize_t position = 0;
    __wasi_errno_t code = __wasi_fd_seek(of, offset, num(), &position);
    if (!code) printf(" %llu", (unsigned long long)position);
    return code;
}

static __wasi_errno_t tell(void) {
    __wasi_filesize_t position = 0;
    __wasi_errno_t code = __wasi_fd_tell(fd(), &position);
    if (!code) printf(" %llu", (unsigned long long)position);
    return code;
}

static __wasi_errno_t set_size(void) {
    __wasi_fd_t of = fd();
    return __wasi_fd_filestat_set_size(of, num());
}

static __wasi_errno_t allocate(void) {
    unsigned which = slot();
    __wasi_fd_t of = slots[which];
    uint64_t offset = num(), length = num();
    __wasi_errno_t code = __wasi_fd_allocate(of, offset, length);
    __wasi_filestat_t stat;
    if (code != __WASI_ERRNO_NOTSUP || length == 0 || (offset | length) >> 63) return code;
    if (!(rights_of[which] & __WASI_RIGHTS_FD_WRITE)) return code;
    if (__wasi_fd_filestat_get(of, &stat) || stat.size >= offset + length) return code;
    (void)!__wasi_fd_filestat_set_size(of, offset + length);
    return code;
}

static __wasi_errno_t set_flags(void) {
    __wasi_fd_t of = fd();
    return __wasi_fd_fdstat_set_flags(of, num());
}

static __wasi_errno_t fdstat(void) {
    __wasi_fdstat_t found;
    __wasi_errno_t code = __wasi_fd_fdstat_get(fd(), &found);
    if (code) return code;
    printf(" type=%d flags=%d", found.fs_filetype, found.fs_flags);
    return 0;
}

static __wasi_errno_t advise(void) {
    __wasi_fd_t of = fd();
    uint64_t offset = num(), length = num();
    return __wasi_fd_advise(of, offset, length, num());
}

static __wasi_errno_t fstat_slot(void) {
    __wasi_filestat_t found;
    __wasi_errno_t code = __wasi_fd_filestat_get(fd(), &found);
    if (!code) show_stat(&found);
    return code;
}

static __wasi_errno_t ftimes(void) {
    __wasi_fd_t of = fd();
    uint64_t atim = num(), mtim = num();
    __wasi_filestat_t found;
    __wasi_errno_t code = __wasi_fd_filestat_set_times(of, atim, mtim, num());
    if (code || __wasi_fd_filestat_get(of, &found)) return code;
    printf(" atim=%llu mtim=%llu", (unsigned long long)found.atim, (unsigned long long)found.mtim);
    return 0;
}

// Lists to the end by cookies, whatever the size of the buffer. Shows for each entry its kind and
// whether its inode is the one that a look at the entry shows; of a file with several names a host
// may know that only after the look.
static __wasi_errno_t readdir_slot(void) {
    __wasi_fd_t of = fd();
    uint32_t size = count_in_buffer();
    __wasi_dircookie_t cookie = __WASI_DIRCOOKIE_START;
    for (;;) {
        __wasi_size_t used = 0;
        __wasi_errno_t code = __wasi_fd_readdir(of, buffer, size, cookie, &used);
        if (code) return code;
        uint32_t at = 0, entries = 0;
        __wasi_dirent_t entry;
        while (used - at >= sizeof entry) {
            memcpy(&entry, buffer + at, sizeof entry);
            if (used - at - sizeof entry < entry.d_namlen) break;
            char name[256] = {0};
            memcpy(name, buffer + at + sizeof entry, entry.d_namlen < 255 ? entry.d_namlen : 255);
            at += sizeof entry + entry.d_namlen;
            cookie = entry.d_next, entries++;
            printf(" %s:%d", name, entry.d_type);
            __wasi_filestat_t found;
            if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
            if (__wasi_path_filestat_get(of, 0, name, &found)) printf("?");
            else if (found.nlink == 1 && found.ino != entry.d_ino) printf("!");
        }
        if (used < size) return 0;
        // Not one entry fits, so none ever will.
        if (entries == 0) return printf(" (no room)"), 0;
    }
}

static __wasi_errno_t rename_path(void) {
    __wasi_fd_t from = fd();
    char *old = text();
    __wasi_fd_t to = fd();
    return __wasi_path_rename(from, old, to, text());
}

static __wasi_errno_t link_path(void) {
    __wasi_lookupflags_t lookup = num();
    __wasi_fd_t from = fd();
    char *old = text();
    __wasi_fd_t to = fd();
    return __wasi_path_link(from, lookup, old, to, text());
}

static __wasi_errno_t symlink_path(void) {
    char *target = text();
    __wasi_fd_t directory = fd();
    return __wasi_path_symlink(target, directory, text());
}

static __wasi_errno_t readlink_path(void) {
    __wasi_fd_t directory = fd();
    char *path = text();
    __wasi_size_t used = 0;
    __wasi_errno_t code = __wasi_path_readlink(directory, path, buffer, count_in_buffer(), &used);
    if (!code) show(buffer, used);
    return code;
}

static __wasi_errno_t stat_path(void) {
    __wasi_fd_t directory = fd();
    __wasi_lookupflags_t lookup = num();
    __wasi_filestat_t found;
    __wasi_errno_t code = __wasi_path_filestat_get(directory, lookup, text(), &found);
    if (!code) show_stat(&found);
    return code;
}

static __wasi_errno_t times(void) {
    __wasi_fd_t directory = fd();
    __wasi_lookupflags_t lookup = num();
    char *path = text();
    uint64_t atim = num(), mtim = num();
    __wasi_filestat_t found;
    __wasi_errno_t code = __wasi_path_filestat_set_times(directory, lookup, path, atim, mtim, num());
    if (code || __wasi_path_filestat_get(directory, lookup, path, &found)) return code;
    printf(" atim=%llu mtim=%llu", (unsigned long long)found.atim, (unsigned long long)found.mtim);
    return 0;
}

// Whether two paths name one file, which is all that may be known of inode numbers.
static __wasi_errno_t same(void) {
    __wasi_filestat_t found[2];
    __wasi_errno_t code = 0;
    for (int i = 0; i < 2; i++) {
        __wasi_fd_t directory = fd();
        __wasi_errno_t got = __wasi_path_filestat_get(directory, 0, text(), &found[i]);
        if (!code) code = got;
    }
    if (!code) printf(" %s", found[0].dev == found[1].dev && found[0].ino == found[1].ino ? "same" : "different");
    return code;
}

static __wasi_errno_t poll_slot(void) {
    __wasi_fd_t of = fd();
    uint8_t type = strcmp(word(), "read") == 0 ? __WASI_EVENTTYPE_FD_READ : __WASI_EVENTTYPE_FD_WRITE;
    __wasi_subscription_t wanted = {.userdata = 7, .u = {.tag = type, .u.fd_read.file_descriptor = of}};
    __wasi_event_t event;
    __wasi_size_t count = 0;
    __wasi_errno_t code = __wasi_poll_oneoff(&wanted, &event, 1, &count);
    if (!code) printf(" %u userdata=%llu error=%d", (unsigned)count, (unsigned long long)event.userdata, event.error);
    return code;
}

static __wasi_errno_t operation(const char *name) {
    if (!strcmp(name, "open")) return open_slot();
    if (!strcmp(name, "close")) return close_slot();
    if (!strcmp(name, "renumber")) return renumber();
    if (!strcmp(name, "read")) return read_into(1);
    if (!strcmp(name, "readv")) return read_into(2);
    if (!strcmp(name, "pread")) return pread_slot();
    if (!strcmp(name, "write")) return write_from(1);
    if (!strcmp(name, "writev")) return write_from(2);
    if (!strcmp(name, "fill")) return fill();
    if (!strcmp(name, "pwrite")) return pwrite_slot();
    if (!strcmp(name, "seek")) return seek();
    if (!strcmp(name, "tell")) return tell();
    if (!strcmp(name, "size")) return set_size();
    if (!strcmp(name, "allocate")) return allocate();
    if (!strcmp(name, "flags")) return set_flags();
    if (!strcmp(name, "fdstat")) return fdstat();
    if (!strcmp(name, "advise")) return advise();
    if (!strcmp(name, "sync")) return __wasi_fd_sync(fd());
    if (!strcmp(name, "datasync")) return __wasi_fd_datasync(fd());
    if (!strcmp(name, "fstat")) return fstat_slot();
    if (!strcmp(name, "ftimes")) return ftimes();
    if (!strcmp(name, "readdir")) return readdir_slot();
    if (!strcmp(name, "rename")) return rename_path();
    if (!strcmp(name, "link")) return link_path();
    if (!strcmp(name, "symlink")) return symlink_path();
    if (!strcmp(name, "readlink")) return readlink_path();
    if (!strcmp(name, "stat")) return stat_path();
    if (!strcmp(name, "times")) return times();
    if (!strcmp(name, "same")) return same();
    if (!strcmp(name, "poll")) return poll_slot();
    __wasi_fd_t directory;
    if (!strcmp(name, "mkdir")) return directory = fd(), __wasi_path_create_directory(directory, text());
    if (!strcmp(name, "rmdir")) return directory = fd(), __wasi_path_remove_directory(directory, text());
    if (!strcmp(name, "unlink")) return directory = fd(), __wasi_path_unlink_file(directory, text());
    complain_that("unknown operation '%s'", name);
    exit(TROUBLE);
}

static void carry_out(char *line) {
    char *name = strtok(line, " ");
    if (!name) return;
    // The operation prints what it found before its errno is known, so that comes last.
    printf("%s", name);
    __wasi_errno_t code = operation(name);
    printf(" = %d\n", code);
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc != 1) usage();
    // All of it first, since an operation may close standard input.
    static char script[SCRIPT_BYTES_MAX];
    size_t length = fread(script, 1, sizeof script - 1, stdin);
    if (!feof(stdin)) {
        complain_that("more than %d bytes of operations", SCRIPT_BYTES_MAX - 1);
        return TROUBLE;
    }
    script[length] = '\0';
    for (char *line = script, *end; *line; line = end + 1) {
        end = line + strcspn(line, "\n");
        bool is_last = *end == '\0';
        *end = '\0';
        carry_out(line);
        if (is_last) break;
    }
    return finish();
}
