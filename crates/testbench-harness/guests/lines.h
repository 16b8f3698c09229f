// Reading files line by line. Needs common.h before it.
#ifndef LINES_H
#define LINES_H

typedef struct {
    char *text;     // without its newline, ended by a NUL
    size_t length;  // NUL bytes inside the line included
} Line;

// Reads one line into `line`, whose buffer is the caller's to free. False at the end of the file.
HELPER bool read_line(FILE *file, Line *line) {
    size_t size = 0;
    line->text = NULL;
    ssize_t length = getline(&line->text, &size, file);
    if (length < 0) {
        free(line->text);
        line->text = NULL;
        return false;
    }
    if (length > 0 && line->text[length - 1] == '\n') line->text[--length] = '\0';
    line->length = (size_t)length;
    return true;
}

HELPER void write_line(FILE *file, const Line *line) {
    fwrite(line->text, 1, line->length, file);
    putc('\n', file);
}

#endif
