// Directory trees: sorted listings, copies, removal. Needs common.h before it.
//
// A directory is always read to its end before anything in it is changed.
#ifndef TREE_H
#define TREE_H

#include <dirent.h>

typedef struct {
    char **names;
    size_t count;
} Names;

HELPER int compare_names(const void *left, const void *right) {
    return strcmp(*(char *const *)left, *(char *const *)right);
}

// Lists a directory without `.` and `..`, in the order of the name's bytes, or as the host gives
// it. Returns false and reports if it cannot be read.
HELPER bool list_directory(const char *path, bool sorted, Names *list) {
    *list = (Names){0};
    DIR *directory = opendir(path);
    if (!directory) {
        complain(path);
        return false;
    }
    struct dirent *entry;
    while (errno = 0, (entry = readdir(directory))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        list->names = need(realloc(list->names, (list->count + 1) * sizeof *list->names));
        list->names[list->count++] = need(strdup(entry->d_name));
    }
    bool complete = errno == 0;
    if (!complete) complain(path);
    closedir(directory);
    if (sorted && list->count) qsort(list->names, list->count, sizeof *list->names, compare_names);
    return complete;
}

HELPER void free_names(Names *list) {
    for (size_t i = 0; i < list->count; i++) free(list->names[i]);
    free(list->names);
}

HELPER char *read_link(const char *path, off_t size_hint) {
    size_t size = size_hint > 0 ? (size_t)size_hint + 1 : PATH_MAX;
    for (;; size *= 2) {
        char *target = need(malloc(size));
        ssize_t length = readlink(path, target, size);
        if (length < 0) {
            free(target);
            return NULL;
        }
        if ((size_t)length < size) {
            target[length] = '\0';
            return target;
        }
        free(target);
    }
}

HELPER bool set_times(const char *path, const struct stat *from) {
    struct timespec times[2] = {from->st_atim, from->st_mtim};
    if (utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW) == 0) return true;
    complain(path);
    return false;
}

HELPER bool copy_file(const char *source, const char *target) {
    const char *culprit = source;
    int from = open(source, O_RDONLY), to = -1;
    bool copied = from >= 0;
    if (copied) {
        to = open(culprit = target, O_WRONLY | O_CREAT | O_TRUNC, 0666);
        copied = to >= 0 && copy_bytes(from, to, &culprit, source, target);
    }
    if (!copied) complain(culprit);
    if (from >= 0) close(from);
    if (to >= 0 && close(to) != 0 && copied) {
        complain(target);
        copied = false;
    }
    return copied;
}

HELPER bool copy_link(const char *source, const char *target, off_t size) {
    char *points_to = read_link(source, size);
    if (!points_to) {
        complain(source);
        return false;
    }
    bool made = symlink(points_to, target) == 0;
    if (!made) complain(target);
    free(points_to);
    return made;
}

// Copies a file, symlink (as a symlink) or directory with all it holds. With `preserve` the copies
// keep the access and modification times. Everything that fails is reported; the rest goes on.
HELPER bool copy_tree(const char *source, const char *target, bool preserve) {
    struct stat found, other;
    if (lstat(source, &found) != 0) {
        complain(source);
        return false;
    }
    if (S_ISLNK(found.st_mode)) return copy_link(source, target, found.st_size);
    bool copied = true;
    if (!S_ISDIR(found.st_mode)) {
        copied = copy_file(source, target);
    } else {
        Names list;
        if (!list_directory(source, true, &list)) return false;
        if (mkdir(target, 0777) != 0 &&
            (errno != EEXIST || lstat(target, &other) != 0 || !S_ISDIR(other.st_mode))) {
            complain(target);
            copied = false;
        }
        for (size_t i = 0; copied && i < list.count; i++) {
            char *from = join(source, list.names[i]), *to = join(target, list.names[i]);
            copied &= copy_tree(from, to, preserve);
            free(from);
            free(to);
        }
        free_names(&list);
    }
    return copied && (!preserve || set_times(target, &found));
}

// Removes a file, symlink or directory with all it holds.
HELPER bool remove_tree(const char *path) {
    struct stat found;
    if (lstat(path, &found) != 0) {
        complain(path);
        return false;
    }
    if (!S_ISDIR(found.st_mode)) {
        if (unlink(path) == 0) return true;
        complain(path);
        return false;
    }
    Names list;
    bool removed = list_directory(path, true, &list);
    for (size_t i = 0; i < list.count; i++) {
        char *inside = join(path, list.names[i]);
        removed &= remove_tree(inside);
        free(inside);
    }
    free_names(&list);
    if (removed && rmdir(path) != 0) {
        complain(path);
        removed = false;
    }
    return removed;
}

// Where `source` goes when the last operand is `target`: into it, if it is a directory.
HELPER char *destination(const char *source, const char *target) {
    if (!is_directory(target)) return need(strdup(target));
    char *name = base_name(source);
    char *path = join(target, name);
    free(name);
    return path;
}

// Whether two paths name one and the same existing file.
HELPER bool same_file(const char *left, const char *right) {
    struct stat a, b;
    return stat(left, &a) == 0 && stat(right, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Whether `path`, or a directory above it, is the directory `ancestor`. Each step cuts a component
// off the path's text, which is right for the paths that a program is about to create.
HELPER bool is_inside(const char *path, const char *ancestor) {
    char *above = need(strdup(path));
    bool inside = false;
    for (;;) {
        if (same_file(above, ancestor)) inside = true;
        char *slash = strrchr(above, '/');
        if (inside || !slash || slash == above) break;
        *slash = '\0';
    }
    // A relative path also lies in the working directory.
    if (path[0] != '/' && same_file(".", ancestor)) inside = true;
    free(above);
    return inside;
}

#endif
