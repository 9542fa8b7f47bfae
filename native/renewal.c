#define _GNU_SOURCE
#include "renewal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

/* Beyond it a removal in the trash and a new copy are as quick for a job that waits, and that removal stops at nothing. */
#define MAX_REMOVED 1000
#define MAX_DEPTH 100
/* More than a security module writes. */
#define MAX_ATTRIBUTE_BYTES 1024
/* How the file system lays a directory out: its own business. */
#define LAYOUT_FLAGS (FS_INDEX_FL | FS_EXTENT_FL | FS_INLINE_DATA_FL | FS_HUGE_FILE_FL)

static const char attributes_name[] = ".gitattributes";

struct pack {
  uint64_t inode, size;
  struct timespec changed;
  const char *name;
};

static bool read_moment(const char *text, char **end, struct timespec *moment) {
  moment->tv_sec = strtoll(text, end, 10);
  if (*end == text || **end != '.') return false;
  const char *fraction = *end + 1;
  moment->tv_nsec = strtol(fraction, end, 10);
  return *end != fraction;
}

/* "INODE SIZE SECONDS.NANOSECONDS NAME" */
static bool read_pack(char *line, struct pack *pack) {
  char *end;
  pack->inode = strtoull(line, &end, 10);
  if (*end != ' ') return false;
  pack->size = strtoull(end + 1, &end, 10);
  if (*end != ' ' || !read_moment(end + 1, &end, &pack->changed) || *end != ' ') return false;
  pack->name = end + 1;
  return *pack->name != 0;
}

const char *renewal_read(struct renewal *renewal, const char *index_path, char *notes) {
  *renewal = (struct renewal){0};
  if (!index_read(&renewal->noted, AT_FDCWD, index_path)) return "the noted index cannot be read";
  if (!index_parse(&renewal->noted)) return "the noted index is of another form";
  char *rest = notes, *end;
  const char *moment = strsep(&rest, "\n");
  if (!read_moment(moment, &end, &renewal->moment) || *end != 0) return "no moment was noted";
  for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
    renewal->packs = realloc(renewal->packs, (renewal->pack_count + 1) * sizeof *renewal->packs);
    if (renewal->packs == NULL) abort();
    if (!read_pack(line, &renewal->packs[renewal->pack_count])) return "a pack was noted in another form";
    renewal->pack_count += 1;
  }
  return NULL;
}

void renewal_free(struct renewal *renewal) {
  index_free(&renewal->noted);
  free(renewal->packs);
  *renewal = (struct renewal){0};
}

static bool is_attributes(const char *path) {
  const char *slash = strrchr(path, '/');
  return strcmp(slash == NULL ? path : slash + 1, attributes_name) == 0;
}

/* True if the other index has the same attributes as this one, and perhaps more. */
static bool has_all_attributes(const struct git_index *one, const struct git_index *other) {
  for (uint32_t n = 0, at; n < one->count; n += 1) {
    const unsigned char *entry = index_entry(one, n);
    if (!is_attributes(index_path(entry))) continue;
    if (!index_find(other, index_path(entry), &at)) return false;
    if (!index_is_same_content(entry, index_entry(other, at))) return false;
  }
  return true;
}

bool renewal_has_attributes_of(const struct renewal *renewal, const struct git_index *wanted) {
  return has_all_attributes(&renewal->noted, wanted) && has_all_attributes(wanted, &renewal->noted);
}

int renewal_open(int directory, const char *path) {
  struct open_how how = {
      .flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
      .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_BENEATH,
  };
  /* Where a kernel or a sandbox lacks the call, used clones are not kept. */
  return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}

/* ---- directories ---- */

/* Only what security modules write: an access list or a mark of somebody's would pass on to what is made in it. */
static bool has_own_attributes(int directory) {
  char names[MAX_ATTRIBUTE_BYTES];
  ssize_t length = flistxattr(directory, names, sizeof names);
  if (length < 0) return errno != ENOTSUP && errno != ENOSYS;
  for (const char *name = names; name < names + length; name += strlen(name) + 1) {
    if (strncmp(name, "security.", strlen("security.")) != 0) return true;
  }
  return false;
}

static int flags_of(int directory) {
  int flags = 0;
  return ioctl(directory, FS_IOC_GETFLAGS, &flags) == 0 ? flags & ~LAYOUT_FLAGS : 0;
}

static bool is_alike(int frozen, int directory) {
  struct stat wanted, is;
  if (fstat(frozen, &wanted) < 0 || fstat(directory, &is) < 0) return false;
  if (wanted.st_mode != is.st_mode || wanted.st_uid != is.st_uid || wanted.st_gid != is.st_gid) return false;
  return wanted.st_dev == is.st_dev && flags_of(frozen) == flags_of(directory) && !has_own_attributes(directory);
}

static const char *remove_name(struct renewal *renewal, int parent, const char *name, int depth) {
  if (atomic_fetch_add(&renewal->removed, 1) >= MAX_REMOVED || depth > MAX_DEPTH) return "much is left in it";
  if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return NULL;
  if (errno != EISDIR && errno != EPERM) return "a file in it cannot be removed";
  int directory = renewal_open(parent, name);
  if (directory < 0) return "a directory in it is out of reach";
  struct listing listing;
  const char *why = listing_read(&listing, directory) ? NULL : "a directory in it cannot be read";
  for (size_t n = 0; n < listing.count && why == NULL; n += 1) {
    why = remove_name(renewal, directory, listing.names[n].text, depth + 1);
  }
  listing_free(&listing);
  close(directory);
  if (why == NULL && unlinkat(parent, name, AT_REMOVEDIR) < 0) why = "a directory in it cannot be removed";
  return why;
}

const char *renewal_clear(
    struct renewal *renewal, int frozen, int directory, const struct listing *wanted, struct listing *found) {
  *found = (struct listing){0};
  if (!is_alike(frozen, directory)) return "a directory in it is not what it was";
  const char *why = listing_read(found, directory) ? NULL : "a directory in it cannot be read";
  for (size_t n = 0; n < found->count && why == NULL; n += 1) {
    const struct name *name = &found->names[n], *known = listing_find(wanted, name->text);
    if (known != NULL && known->is_directory == name->is_directory) continue;
    why = remove_name(renewal, directory, name->text, 0);
  }
  return why;
}

/* ---- files ---- */

const unsigned char *renewal_keeps(const struct renewal *renewal, const unsigned char *wanted, const struct stat *stat) {
  uint32_t at;
  if (!index_find(&renewal->noted, index_path(wanted), &at)) return NULL;
  const unsigned char *noted = index_entry(&renewal->noted, at);
  if (!index_is_same_content(noted, wanted)) return NULL;
  return index_is_unchanged(noted, stat, &renewal->moment) ? noted : NULL;
}

bool renewal_keeps_pack(const struct renewal *renewal, const char *name, const struct stat *frozen, const struct stat *stat) {
  for (size_t n = 0; n < renewal->pack_count; n += 1) {
    const struct pack *pack = &renewal->packs[n];
    if (strcmp(pack->name, name) != 0) continue;
    const struct timespec *changed = &stat->st_ctim, *moment = &renewal->moment;
    bool is_earlier = changed->tv_sec < moment->tv_sec ||
                      (changed->tv_sec == moment->tv_sec && changed->tv_nsec < moment->tv_nsec);
    return is_earlier && S_ISREG(stat->st_mode) && pack->inode == stat->st_ino && pack->size == (uint64_t)stat->st_size &&
           frozen->st_size == stat->st_size && pack->changed.tv_sec == changed->tv_sec &&
           pack->changed.tv_nsec == changed->tv_nsec;
  }
  return false;
}
