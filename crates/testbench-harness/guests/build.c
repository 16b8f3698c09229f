// build: a small pretend compiler, for demonstrations and tests of builds.
//
// Every *.src in SRC becomes an object in OUT (NAME.obj), which takes some time (-t, default 20m a
// source): it sleeps. A source is skipped if neither its bytes nor those of the files in SRC that its
// #include "FILE" lines name have changed since the last build, told by the hashes in
// OUT/manifest.txt; objects without a source are deleted. Then the program OUT/app is linked from all
// objects, the earlier one kept as OUT/app.old, and the manifest written anew. Where an included file
// is missing the build fails, with status 1 and nothing linked.
#define PROG "build"
#define USAGE "[-t INTERVAL] SRC OUT"
#include "common.h"
#include "sha256.h"
#include "tree.h"

#define SOURCE_SUFFIX ".src"
#define OBJECT_SUFFIX ".obj"
#define MANIFEST "manifest.txt"

static long long compile_ns = 20 * 60 * NS_PER_S;
static const char *source_directory, *output_directory;
static char *old_manifest;  // its text; empty at the first build

static FILE *open_or_fail(const char *path, const char *mode) {
    FILE *file = fopen(path, mode);
    if (!file) complain(path);
    return file;
}

static bool close_or_fail(FILE *file, const char *path) {
    bool failed = ferror(file);
    if (fclose(file) == 0 && !failed) return true;
    complain(path);
    return false;
}

// `name` with one suffix in place of the other, or NULL if it does not end so.
static char *with_suffix(const char *name, const char *old, const char *new) {
    size_t length = strlen(name), cut = strlen(old);
    if (length <= cut || strcmp(name + length - cut, old) != 0) return NULL;
    char *renamed = need(malloc(length - cut + strlen(new) + 1));
    sprintf(renamed, "%.*s%s", (int)(length - cut), name, new);
    return renamed;
}

static char *read_text(const char *path) {
    size_t length = 0, size = 0;
    char *text = need(calloc(1, 1));
    FILE *file = fopen(path, "r");
    if (!file) return text;
    do {
        if (size - length < 4096) text = need(realloc(text, (size = size * 2 + 8192) + 1));
        length += fread(text + length, 1, size - length, file);
    } while (!feof(file) && !ferror(file));
    text[length] = '\0';
    close_or_fail(file, path);
    return text;
}

static void now(char text[RFC3339_MAX]) {
    struct timespec when;
    clock_gettime(CLOCK_REALTIME, &when);
    rfc3339(when, text);
}

// One line of the manifest: what was built from what.
static void manifest_line(char **line, const char *object, const char *hash) {
    *line = need(malloc(strlen(object) + SHA256_HEX_MAX + 3));
    sprintf(*line, "%s  %s\n", hash, object);
}

static bool is_up_to_date(const char *object_path, const char *line) {
    struct stat found;
    return strstr(old_manifest, line) != NULL && stat(object_path, &found) == 0;
}

// What an `#include "FILE"` line names, or NULL; the caller frees it.
static char *included_file(const char *line) {
    static const char directive[] = "#include \"";
    const char *name = line + sizeof directive - 1, *end;
    if (strncmp(line, directive, sizeof directive - 1) != 0 || !(end = strchr(name, '"'))) return NULL;
    return need(strndup(name, end - name));
}

static bool add_file(Sha256 *hash, const char *path) {
    FILE *file = fopen(path, "r");
    if (!file) return false;
    sha256_add_file(hash, file);
    return close_or_fail(file, path);
}

// Hashes a source and the files that it includes, the one after the other.
static bool hash_source(const char *source, char hex[SHA256_HEX_MAX]) {
    char *source_path = join(source_directory, source), *line = NULL;
    FILE *from = open_or_fail(source_path, "r");
    bool complete = from != NULL;
    size_t size = 0;
    Sha256 hash;
    sha256_begin(&hash);
    for (int number = 1; from && getline(&line, &size, from) >= 0; number++) {
        sha256_add(&hash, line, strlen(line));
        char *included = included_file(line);
        if (!included) continue;
        char *path = join(source_directory, included);
        if (!add_file(&hash, path)) {
            complain_that("%s:%d: %s: %s", source, number, included, strerror(errno));
            complete = false;
        }
        free(included);
        free(path);
    }
    sha256_end(&hash, hex);
    if (from) complete &= close_or_fail(from, source_path);
    free(line);
    free(source_path);
    return complete;
}

// Every line of the source becomes one numbered instruction of the object.
static void translate(FILE *from, FILE *to) {
    char *line = NULL;
    size_t size = 0;
    for (int number = 1; getline(&line, &size, from) >= 0; number++) {
        line[strcspn(line, "\n")] = '\0';
        fprintf(to, "%04d %s\n", number, line);
    }
    free(line);
}

static bool compile(const char *source, const char *object_path, const char *hash) {
    char time[RFC3339_MAX];
    now(time);
    printf("%s compile %s\n", time, source);
    fflush(stdout);
    sleep_ns(compile_ns);
    char *source_path = join(source_directory, source);
    FILE *from = open_or_fail(source_path, "r"), *to = from ? open_or_fail(object_path, "w") : NULL;
    bool compiled = to != NULL;
    if (to) {
        now(time);
        fprintf(to, "object of %s\nsource sha256 %s\ncompiled %s\n", source, hash, time);
        translate(from, to);
        compiled &= close_or_fail(to, object_path);
    }
    if (from) compiled &= close_or_fail(from, source_path);
    if (to && !compiled) unlink(object_path);
    free(source_path);
    return compiled;
}

// Builds one source if it must be; appends its line to the new manifest.
static bool build_one(const char *source, const char *object, FILE *manifest) {
    char hash[SHA256_HEX_MAX], *line;
    char *object_path = join(output_directory, object);
    bool built = hash_source(source, hash);
    if (built) {
        manifest_line(&line, object, hash);
        if (is_up_to_date(object_path, line))
            printf("%30s fresh   %s\n", "", source);
        else
            built = compile(source, object_path, hash);
        if (built) fputs(line, manifest);
        free(line);
    }
    free(object_path);
    return built;
}

static void delete_stale_objects(void) {
    Names list;
    if (!list_directory(output_directory, true, &list)) return;
    for (size_t i = 0; i < list.count; i++) {
        char *source = with_suffix(list.names[i], OBJECT_SUFFIX, SOURCE_SUFFIX);
        if (!source) continue;
        char *source_path = join(source_directory, source), *object_path = join(output_directory, list.names[i]);
        if (access(source_path, F_OK) != 0 && errno == ENOENT) {
            printf("%30s delete  %s\n", "", list.names[i]);
            if (unlink(object_path) != 0) complain(object_path);
        }
        free(source);
        free(source_path);
        free(object_path);
    }
    free_names(&list);
}

static bool link_program(const Names *sources) {
    char *app = join(output_directory, "app"), *old = join(output_directory, "app.old");
    bool linked = rename(app, old) == 0 || errno == ENOENT;
    FILE *to = linked ? fopen(app, "w") : NULL;
    if (!to) {
        complain(app);
        linked = false;
    }
    for (size_t i = 0; linked && i < sources->count; i++) {
        char *object = with_suffix(sources->names[i], SOURCE_SUFFIX, OBJECT_SUFFIX);
        if (!object) continue;
        char *path = join(output_directory, object), *text = read_text(path);
        fprintf(to, "--- %s\n%s", object, text);
        free(object);
        free(path);
        free(text);
    }
    if (to) linked &= close_or_fail(to, app);
    char time[RFC3339_MAX];
    now(time);
    if (linked) printf("%s link    app\n", time);
    free(app);
    free(old);
    return linked;
}

static void build_all(const Names *sources) {
    char *manifest_path = join(output_directory, MANIFEST), *fresh_path = join(output_directory, MANIFEST ".new");
    old_manifest = read_text(manifest_path);
    FILE *manifest = open_or_fail(fresh_path, "w");
    if (!manifest) return;
    size_t failed = 0;
    for (size_t i = 0; i < sources->count; i++) {
        char *object = with_suffix(sources->names[i], SOURCE_SUFFIX, OBJECT_SUFFIX);
        if (object && !build_one(sources->names[i], object, manifest)) failed++;
        free(object);
    }
    bool written = close_or_fail(manifest, fresh_path);
    if (failed) complain_that("%zu of the sources failed", failed);
    if (failed || !written) {
        unlink(fresh_path);
        return;
    }
    delete_stale_objects();
    if (link_program(sources) && rename(fresh_path, manifest_path) != 0) complain(manifest_path);
}

int main(int argc, char **argv) {
    begin();
    while (next_option(argc, argv, "t:") != -1) compile_ns = interval(optarg);
    if (argc - optind != 2) usage();
    source_directory = argv[optind];
    output_directory = argv[optind + 1];
    Names sources;
    if (!list_directory(source_directory, true, &sources)) return finish();
    if (mkdir(output_directory, 0777) != 0 && !is_directory(output_directory)) {
        complain(output_directory);
        return finish();
    }
    build_all(&sources);
    return finish();
}
