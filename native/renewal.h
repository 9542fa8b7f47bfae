/*
 * What of a clone that a job has used may stay when it is made equal to the frozen clone: files that the service itself wrote
 * and that nobody has touched since. The job is over and none of its processes is left, but whatever it did to the tree, it may
 * have done on purpose.
 */
#ifndef RENEWAL_H
#define RENEWAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

#include "git-index.h"
#include "listing.h"

struct pack;

struct renewal {
  /* The index that was noted before the job, out of its reach. */
  struct git_index noted;
  /* When the job got the clone, by the clock of the file system. */
  struct timespec moment;
  struct pack *packs;
  size_t pack_count;
  /* Of all directories together. */
  atomic_long removed;
};

/*
 * The notes are texts of lines: the moment as SECONDS.NANOSECONDS, then "INODE SIZE SECONDS.NANOSECONDS NAME" for each file of
 * .git/objects/pack, with the time of its last change. Null, or why they are no notes. To be freed whatever the answer.
 */
const char *renewal_read(struct renewal *renewal, const char *index_path, char *notes);

void renewal_free(struct renewal *renewal);

/* True if the same attributes make files of blobs in both: else the same blob may be another file. */
bool renewal_has_attributes_of(const struct renewal *renewal, const struct git_index *wanted);

/* Opens a directory at or below another one: over no link, and on no other mount. -1 with errno. */
int renewal_open(int directory, const char *path);

/*
 * Null if the directory is like the one of the frozen clone, and now holds no name that this does not have, nor a directory in
 * the place of a file or the other way round; else why it cannot stay. `found` is what it held before, the caller's to free.
 */
const char *renewal_clear(
    struct renewal *renewal, int frozen, int directory, const struct listing *wanted, struct listing *found);

/* The noted entry if the file was noted with this content, and nobody has touched it since; else null. */
const unsigned char *renewal_keeps(const struct renewal *renewal, const unsigned char *wanted, const struct stat *stat);

/* True if this is such a file of the store, of the frozen one's size. */
bool renewal_keeps_pack(const struct renewal *renewal, const char *name, const struct stat *frozen, const struct stat *stat);

#endif
