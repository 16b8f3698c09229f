// notes: a library that is called with JSON, for the tests and the example of plugins.
//
//   count {"text": T}             -> {"words": N, "bytes": N}
//   echo V                        -> V, in the memory in which it came
//   now null                      -> {"unix_ns": N}: the wall clock
//   sleep {"ms": N}               -> {"slept_ns": N}: what the monotonic clock says about it
//   random null                   -> {"number": N}
//   write {"path": P, "text": T}  -> {"bytes": N}
//   say T                         -> null, after T has gone to standard output
//   visits null                   -> {"visits": N}: how often this instance was asked
//   broken null                   -> text that is not JSON
//   latin1 null                   -> text that is not UTF-8
//   trap null, loop null, exit N  -> no answer
//
// Anything wrong gives {"error": why}. Numbers are unsigned integers.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT(name) __attribute__((export_name(name)))

// How many allocations are live, and how many bytes they have.
static int32_t live, live_bytes;
static uint32_t visits;

EXPORT("alloc") void *plugin_alloc(uint32_t size) {
    void *memory = malloc(size);
    if (memory) live++, live_bytes += size;
    return memory;
}

EXPORT("free") void plugin_free(void *memory, uint32_t size) {
    if (memory) live--, live_bytes -= size;
    free(memory);
}

EXPORT("live") int32_t live_allocations(void) {
    return live;
}

EXPORT("live_bytes") int32_t bytes_of_live_allocations(void) {
    return live_bytes;
}

EXPORT("add_one") int32_t add_one(int32_t number) {
    return (int32_t)((uint32_t)number + 1);
}

// A string of JSON text that has not been read yet.
struct json {
    const char *at, *end;
};

static void skip_space(struct json *in) {
    while (in->at < in->end && strchr(" \t\r\n", *in->at)) in->at++;
}

static bool take(struct json *in, char wanted) {
    skip_space(in);
    if (in->at == in->end || *in->at != wanted) return false;
    in->at++;
    return true;
}

static int hex4(const char *digits) {
    int value = 0;
    for (int i = 0; i < 4; i++) {
        char c = digits[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static char *put_utf8(char *to, uint32_t code) {
    if (code < 0x80) {
        *to++ = (char)code;
    } else if (code < 0x800) {
        *to++ = (char)(0xc0 | code >> 6);
        *to++ = (char)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        *to++ = (char)(0xe0 | code >> 12);
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    } else {
        *to++ = (char)(0xf0 | code >> 18);
        *to++ = (char)(0x80 | (code >> 12 & 0x3f));
        *to++ = (char)(0x80 | (code >> 6 & 0x3f));
        *to++ = (char)(0x80 | (code & 0x3f));
    }
    return to;
}

// Reads a string; the caller frees it. An escape is never shorter than what it stands for.
static char *take_string(struct json *in) {
    if (!take(in, '"')) return NULL;
    char *text = malloc((size_t)(in->end - in->at) + 1), *to = text;
    while (text && in->at < in->end && *in->at != '"') {
        char c = *in->at++;
        if (c != '\\') {
            *to++ = c;
            continue;
        }
        c = in->at < in->end ? *in->at++ : 0;
        static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";
        const char *escape = NULL;
        for (const char *e = escapes; *e; e += 2)
            if (*e == c) escape = e;
        if (escape) {
            *to++ = escape[1];
            continue;
        }
        int code = c == 'u' && in->end - in->at >= 4 ? hex4(in->at) : -1;
        if (code < 0) break;
        in->at += 4;
        uint32_t wide = (uint32_t)code;
        if (code >> 10 == 0xd800 >> 10 && in->end - in->at >= 6 && in->at[0] == '\\' && in->at[1] == 'u') {
            int low = hex4(in->at + 2);
            if (low >> 10 == 0xdc00 >> 10) {
                wide = 0x10000 + ((uint32_t)(code & 0x3ff) << 10 | (uint32_t)(low & 0x3ff));
                in->at += 6;
            }
        }
        to = put_utf8(to, wide);
    }
    if (!text || !take(in, '"')) {
        free(text);
        return NULL;
    }
    *to = '\0';
    return text;
}

static bool take_number(struct json *in, uint64_t *number) {
    skip_space(in);
    const char *first = in->at;
    *number = 0;
    for (; in->at < in->end && *in->at >= '0' && *in->at <= '9'; in->at++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*in->at - '0'), number))
            return false;
    return in->at > first;
}

// Goes to the value of `key` in an object whose other values are strings and numbers.
static bool find(struct json in, const char *key, struct json *value) {
    if (!take(&in, '{')) return false;
    do {
        char *name = take_string(&in);
        bool found = name && strcmp(name, key) == 0;
        free(name);
        if (!name || !take(&in, ':')) return false;
        if (found) {
            *value = in;
            return true;
        }
        uint64_t number;
        char *text = take_string(&in);
        free(text);
        if (!text && !take_number(&in, &number)) return false;
    } while (take(&in, ','));
    return false;
}

static char *find_string(struct json in, const char *key) {
    struct json value;
    return find(in, key, &value) ? take_string(&value) : NULL;
}

// The answer's memory is the plugin's, so that the caller can free it.
static uint64_t answer(const char *text, size_t length) {
    char *memory = plugin_alloc((uint32_t)length);
    if (!memory) return 0;
    memcpy(memory, text, length);
    return (uint64_t)(uintptr_t)memory << 32 | length;
}

static uint64_t answer_text(const char *text) {
    return answer(text, strlen(text));
}

static uint64_t answer_number(const char *key, uint64_t number) {
    char text[64];
    snprintf(text, sizeof text, "{\"%s\":%llu}", key, (unsigned long long)number);
    return answer_text(text);
}

static uint64_t error(const char *why) {
    char text[64];
    snprintf(text, sizeof text, "{\"error\":\"%s\"}", why);
    return answer_text(text);
}

static uint64_t now_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t count(struct json in) {
    char *text = find_string(in, "text");
    if (!text) return error("text is missing");
    uint32_t words = 0;
    bool in_word = false;
    for (const char *c = text; *c; c++) {
        bool space = strchr(" \t\r\n", *c) != NULL;
        words += !space && !in_word;
        in_word = !space;
    }
    char counted[64];
    snprintf(counted, sizeof counted, "{\"words\":%u,\"bytes\":%zu}", words, strlen(text));
    free(text);
    return answer_text(counted);
}

static uint64_t sleep_ms(struct json in) {
    struct json value;
    uint64_t ms;
    if (!find(in, "ms", &value) || !take_number(&value, &ms)) return error("ms is missing");
    uint64_t before = now_ns(CLOCK_MONOTONIC);
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&left, NULL);
    return answer_number("slept_ns", now_ns(CLOCK_MONOTONIC) - before);
}

static uint64_t write_file(struct json in) {
    char *path = find_string(in, "path"), *text = find_string(in, "text");
    size_t length = text ? strlen(text) : 0;
    FILE *file = path && text ? fopen(path, "w") : NULL;
    bool written = file && fwrite(text, 1, length, file) == length;
    if (file && fclose(file) != 0) written = false;
    free(path);
    free(text);
    return written ? answer_number("bytes", length) : error("the file cannot be written");
}

static uint64_t say(struct json in) {
    char *text = take_string(&in);
    if (!text) return error("a text is missing");
    puts(text);
    fflush(stdout);
    free(text);
    return answer_text("null");
}

EXPORT("oxide_invoke")
uint64_t invoke(const char *method, uint32_t method_length, const char *input, uint32_t input_length) {
    struct json in = {input, input + input_length};
    uint64_t number = 0;
    visits++;
#define IS(name) (method_length == sizeof name - 1 && memcmp(method, name, sizeof name - 1) == 0)
    if (IS("count")) return count(in);
    if (IS("echo")) return (uint64_t)(uintptr_t)input << 32 | input_length;
    if (IS("now")) return answer_number("unix_ns", now_ns(CLOCK_REALTIME));
    if (IS("sleep")) return sleep_ms(in);
    if (IS("random")) {
        if (getentropy(&number, sizeof number) != 0) return error("there is no randomness");
        return answer_number("number", number);
    }
    if (IS("write")) return write_file(in);
    if (IS("say")) return say(in);
    if (IS("visits")) return answer_number("visits", visits);
    if (IS("broken")) return answer_text("{\"half\": ");
    if (IS("latin1")) return answer("\"caf\xe9\"", 6);
    if (IS("trap")) __builtin_trap();
    if (IS("loop"))
        for (volatile bool forever = true; forever;) {}
    if (IS("exit")) {
        take_number(&in, &number);
        _Exit((int)number);
    }
    return error("there is no such method");
}
