#define _GNU_SOURCE
#include "listing.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LISTING_BYTES (32 * 1024)

static bool is_directory(int parent, const struct dirent64 *entry) {
  if (entry->d_type != DT_UNKNOWN) return entry->d_type == DT_DIR;
  struct stat stat;
  return fstatat(parent, entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(stat.st_mode);
}

static int compare(const void *one, const void *other) {
  return strcmp(((const struct name *)one)->text, ((const struct name *)other)->text);
}

static void add(struct listing *listing, const char *text, bool is_directory) {
  if (listing->count == listing->room) {
    listing->room = listing->room == 0 ? 64 : listing->room * 2;
    listing->names = realloc(listing->names, listing->room * sizeof *listing->names);
    if (listing->names == NULL) abort();
  }
  char *own = strdup(text);
  if (own == NULL) abort();
  listing->names[listing->count] = (struct name){own, is_directory};
  listing->count += 1;
}

bool listing_read(struct listing *listing, int directory) {
  *listing = (struct listing){0};
  /* The C library would take three calls more for each directory. */
  _Alignas(8) char bytes[LISTING_BYTES];
  ssize_t got;
  while ((got = syscall(SYS_getdents64, directory, bytes, sizeof bytes)) > 0) {
    for (ssize_t at = 0; at < got;) {
      const struct dirent64 *entry = (const struct dirent64 *)(bytes + at);
      const char *name = entry->d_name;
      if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) add(listing, name, is_directory(directory, entry));
      at += entry->d_reclen;
    }
  }
  if (listing->count > 1) qsort(listing->names, listing->count, sizeof *listing->names, compare);
  return got == 0;
}

const struct name *listing_find(const struct listing *listing, const char *name) {
  const struct name wanted = {.text = (char *)name};
  if (listing->count == 0) return NULL;
  return bsearch(&wanted, listing->names, listing->count, sizeof *listing->names, compare);
}

void listing_free(struct listing *listing) {
  for (size_t n = 0; n < listing->count; n += 1) free(listing->names[n].text);
  free(listing->names);
  *listing = (struct listing){0};
}
