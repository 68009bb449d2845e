/*
 * script_record_file: keeps the manager's recorded decisions in a folder, so that a new process begins with
 * them, SIGKILL included: lines are handed to the kernel at the end of each turn of the loop that decided
 * something, and never fsynced: a machine that loses its power loses the last seconds of them.
 *
 * Bounded: segments of an eighth of RECORD_BYTES each, the oldest go. One process at a time has the folder;
 * another one keeps nothing. One thread.
 */
#ifndef M8_SCRIPT_RECORD_FILE_H
#define M8_SCRIPT_RECORD_FILE_H

#include "loop/loop.h"
#include "script/script_record_text.h"

struct record_file;
/* Reads what is there into the record, which must be empty, and writes along from now on. Both are borrowed.
 * NULL: it cannot be kept, which is logged; the record works all the same. */
struct record_file *record_file_open(const char *directory, struct loop *loop, struct record *record,
                                     const struct policies *policies);
/* Writes what is left. NULL is fine. */
void record_file_close(struct record_file *file);
uint64_t record_file_bytes(const struct record_file *file); /* on the disk, about; NULL: 0 */

#endif
