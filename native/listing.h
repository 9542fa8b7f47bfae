/* What a directory holds. */
#ifndef LISTING_H
#define LISTING_H

#include <stdbool.h>
#include <stddef.h>

struct name {
  char *text;
  bool is_directory;
};

struct listing {
  struct name *names;
  size_t count, room;
};

/* All but "." and "..", in the order of their bytes, of one just opened. False with errno; to be freed whatever the answer. */
bool listing_read(struct listing *listing, int directory);

/* Null if there is no such name. */
const struct name *listing_find(const struct listing *listing, const char *name);

void listing_free(struct listing *listing);

#endif
