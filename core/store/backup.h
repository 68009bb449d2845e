/*
 * backup: store and blobs of one moment, laid out as a server's folder has them: DIRECTORY/store/store.mdb
 * and DIRECTORY/blobs. A server that is started on a copy of them goes on from that moment.
 */
#ifndef M8_STORE_BACKUP_H
#define M8_STORE_BACKUP_H

#include "store/blobs.h"
#include "store/store.h"

/* Live, from any thread, blocks on the disk; memory does not grow with what there is. Whatever an object of
 * the copied store had as a blob is in the copy, also if the object is deleted meanwhile. The directory is
 * there, whole and durable, or not at all: made beside it as DIRECTORY.part and renamed. ERR_ALREADY_EXISTS:
 * never over an older one. */
int store_backup(struct store *store, struct blobs *blobs, const char *directory, struct err **err);

#endif
