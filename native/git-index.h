/* An index of git, as its files are laid out: read, looked up, and noted in. Second and third form, ids of 20 bytes. */
#ifndef GIT_INDEX_H
#define GIT_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct git_index {
  unsigned char *bytes;
  size_t size;
  /* Where each entry begins. */
  size_t *entries;
  uint32_t count;
};

/* False if it cannot be read, with errno. To be freed whatever the answer. */
bool index_read(struct git_index *index, int directory, const char *path);

/* False if it is not an index that we know. */
bool index_parse(struct git_index *index);

void index_free(struct git_index *index);

const unsigned char *index_entry(const struct git_index *index, uint32_t at);

/* Without an end at `size`: the path of an entry ends with a NUL. */
const char *index_path(const unsigned char *entry);

/* False if the index has no such path. */
bool index_find(const struct git_index *index, const char *path, uint32_t *at);

/* As git has it: 0100644 and the like. */
uint32_t index_mode(const unsigned char *entry);

bool index_is_submodule(const unsigned char *entry);

/* True if both stand for the same content and mode. */
bool index_is_same_content(const unsigned char *one, const unsigned char *other);

/* False if the file is another one than the entry names, or was written since. What the entry does not say does not count. */
bool index_is_same_file(const unsigned char *entry, const struct stat *stat);

/* False if anything differs that the entry has of a file, or may have been changed at the moment or later. */
bool index_is_unchanged(const unsigned char *entry, const struct stat *stat, const struct timespec *moment);

/* Notes what was seen of its file. Several threads may note several entries. */
void index_note(struct git_index *index, uint32_t at, const struct stat *stat);

/* Notes the same of its file as the other entry does. */
void index_note_as(struct git_index *index, uint32_t at, const unsigned char *other);

/* To be called after the last note: writes the hash at its end. */
void index_seal(struct git_index *index);

#endif
