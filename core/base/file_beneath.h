/*
 * file_beneath: a path inside a folder that somebody else writes into, opened so that no link planted there,
 * before or meanwhile, leads out of it. The answer is a descriptor: the name may mean something else by the
 * time it is used again.
 */
#ifndef M8_BASE_FILE_BENEATH_H
#define M8_BASE_FILE_BENEATH_H

#include "base/err.h"

/* What `path` (relative, no "..") names beneath the folder `root`, as an O_PATH descriptor of the caller's;
 * any kind of file. Links that stay beneath root are followed; one that leads out, absolute ones among them,
 * is ERR_INVALID. Folders that are missing are made with the group and the mode of root, whatever the umask,
 * never through a link. A kernel without openat2 (before 5.6) follows no links at all. */
int file_make_beneath(int root, const char *path, struct err **err);

#endif
