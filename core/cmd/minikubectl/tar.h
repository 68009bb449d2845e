/*
 * tar.h: archives as they pass by: a writer that is read in pieces, a reader that is fed in pieces. ustar
 * with GNU long names ('L'), and pax paths when reading. No archive ever lies in memory or on disk.
 */
#ifndef M8_CMD_TAR_H
#define M8_CMD_TAR_H

#include <sys/types.h>

#include "base/err.h"
#include "base/str.h"

struct tar_writer;
/* What is at `path` (a file or a folder with everything in it), named `name` in the archive. */
struct tar_writer *tar_writer_new(const char *path, const char *name, struct err **err);
ssize_t tar_writer_read(struct tar_writer *writer, char *data,
                        size_t len);                                 /* 0: the end; errors: see below */
const struct err *tar_writer_error(const struct tar_writer *writer); /* the archive is cut off there */
void tar_writer_free(struct tar_writer *writer);

struct tar_reader;
/* Entries named `prefix` or below it are made at `destination` or below it; nothing ever outside. */
struct tar_reader *tar_reader_new(const char *prefix, const char *destination);
void tar_reader_feed(struct tar_reader *reader, const char *data, size_t len);
/* 0: the archive was whole and everything was written. Symbolic links are skipped, with a line on stderr. */
int tar_reader_finish(struct tar_reader *reader, struct err **err);
void tar_reader_free(struct tar_reader *reader);

#endif
