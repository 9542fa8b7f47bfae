#define _GNU_SOURCE
#include "git-index.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fixed part of an entry: times, numbers, mode, owner, size, id and flags. */
#define ENTRY_BYTES 62
#define HASH_BYTES 20
#define MODE_AT 24
#define OWNER_AT 28
#define ID_AT 40
#define FLAGS_AT 60

static uint32_t read_32(const unsigned char *at) {
  return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void write_32(unsigned char *at, uint64_t value) {
  for (int n = 0; n < 4; n += 1) at[n] = (unsigned char)(value >> (24 - 8 * n));
}

/* ---- sha1 ---- */

static uint32_t rotated(uint32_t value, int bits) { return value << bits | value >> (32 - bits); }

static void sha1_block(uint32_t state[5], const unsigned char *block) {
  static const uint32_t constants[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
  uint32_t words[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
  for (int n = 0; n < 16; n += 1) words[n] = read_32(block + 4 * n);
  for (int n = 16; n < 80; n += 1) words[n] = rotated(words[n - 3] ^ words[n - 8] ^ words[n - 14] ^ words[n - 16], 1);
  for (int n = 0; n < 80; n += 1) {
    uint32_t mixed = n < 20 ? (b & c) | (~b & d) : n >= 40 && n < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
    uint32_t next = rotated(a, 5) + mixed + e + constants[n / 20] + words[n];
    e = d;
    d = c;
    c = rotated(b, 30);
    b = a;
    a = next;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
}

static void sha1(const unsigned char *bytes, size_t count, unsigned char *result) {
  uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  size_t done = 0;
  for (; done + 64 <= count; done += 64) sha1_block(state, bytes + done);
  unsigned char last[128] = {0};
  size_t rest = count - done, length = rest < 56 ? 64 : 128;
  memcpy(last, bytes + done, rest);
  last[rest] = 0x80;
  write_32(last + length - 8, (uint64_t)count >> 29);
  write_32(last + length - 4, (uint64_t)count << 3);
  for (size_t n = 0; n < length; n += 64) sha1_block(state, last + n);
  for (int n = 0; n < 5; n += 1) write_32(result + 4 * n, state[n]);
}

/* ---- entries ---- */

bool index_read(struct git_index *index, int directory, const char *path) {
  *index = (struct git_index){0};
  int fd = openat(directory, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat stat;
  if (fd < 0) return false;
  bool is_file = fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode);
  size_t got = 0;
  if (is_file) {
    index->size = (size_t)stat.st_size;
    index->bytes = malloc(index->size + 1);
    if (index->bytes == NULL) abort();
    ssize_t more;
    while (got < index->size && (more = read(fd, index->bytes + got, index->size - got)) > 0) got += (size_t)more;
  }
  close(fd);
  return is_file && got == index->size;
}

bool index_parse(struct git_index *index) {
  if (index->size < 12 + HASH_BYTES || memcmp(index->bytes, "DIRC", 4) != 0) return false;
  uint32_t version = read_32(index->bytes + 4);
  index->count = read_32(index->bytes + 8);
  if ((version != 2 && version != 3) || index->count > index->size / ENTRY_BYTES) return false;
  size_t end = index->size - HASH_BYTES, at = 12;
  index->entries = malloc((index->count + 1) * sizeof *index->entries);
  if (index->entries == NULL) abort();
  for (uint32_t n = 0; n < index->count; n += 1) {
    index->entries[n] = at;
    if (at + ENTRY_BYTES + 2 >= end) return false;
    size_t start = (size_t)((const unsigned char *)index_path(index->bytes + at) - index->bytes);
    size_t length = strnlen((const char *)index->bytes + start, end - start);
    /* Ended by one to eight NULs. */
    at += (start - at + length + 8) & ~(size_t)7;
    if (at > end) return false;
  }
  return true;
}

void index_free(struct git_index *index) {
  free(index->bytes);
  free(index->entries);
  *index = (struct git_index){0};
}

const unsigned char *index_entry(const struct git_index *index, uint32_t at) {
  return index->bytes + index->entries[at];
}

const char *index_path(const unsigned char *entry) {
  bool is_extended = (entry[FLAGS_AT] & 0x40) != 0;
  return (const char *)entry + ENTRY_BYTES + (is_extended ? 2 : 0);
}

bool index_find(const struct git_index *index, const char *path, uint32_t *at) {
  uint32_t low = 0, high = index->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    int order = strcmp(index_path(index_entry(index, middle)), path);
    if (order == 0) {
      *at = middle;
      return true;
    }
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return false;
}

uint32_t index_mode(const unsigned char *entry) { return read_32(entry + MODE_AT); }

bool index_is_submodule(const unsigned char *entry) { return (index_mode(entry) & S_IFMT) == (S_IFDIR | S_IFLNK); }

bool index_is_same_content(const unsigned char *one, const unsigned char *other) {
  return index_mode(one) == index_mode(other) && memcmp(one + ID_AT, other + ID_AT, HASH_BYTES) == 0;
}

bool index_is_same_file(const unsigned char *entry, const struct stat *stat) {
  return read_32(entry) == (uint32_t)stat->st_ctim.tv_sec && read_32(entry + 8) == (uint32_t)stat->st_mtim.tv_sec &&
         (read_32(entry + 4) == 0 || read_32(entry + 4) == (uint32_t)stat->st_ctim.tv_nsec) &&
         read_32(entry + 20) == (uint32_t)stat->st_ino && read_32(entry + 36) == (uint32_t)stat->st_size;
}

bool index_is_unchanged(const unsigned char *entry, const struct stat *stat, const struct timespec *moment) {
  const uint64_t now[] = {
      (uint64_t)stat->st_ctim.tv_sec, (uint64_t)stat->st_ctim.tv_nsec, (uint64_t)stat->st_mtim.tv_sec,
      (uint64_t)stat->st_mtim.tv_nsec, stat->st_ino, stat->st_uid, stat->st_gid, (uint64_t)stat->st_size,
  };
  const int places[] = {0, 4, 8, 12, 20, 28, 32, 36};
  for (int n = 0; n < 8; n += 1) {
    if (read_32(entry + places[n]) != (uint32_t)now[n]) return false;
  }
  uint32_t mode = index_mode(entry);
  if ((mode & S_IFMT) != (stat->st_mode & S_IFMT)) return false;
  if (S_ISREG(mode) && ((mode ^ stat->st_mode) & 0100) != 0) return false;
  if (!S_ISREG(mode) && !S_ISLNK(mode)) return false;
  return stat->st_ctim.tv_sec < moment->tv_sec ||
         (stat->st_ctim.tv_sec == moment->tv_sec && stat->st_ctim.tv_nsec < moment->tv_nsec);
}

void index_note(struct git_index *index, uint32_t at, const struct stat *stat) {
  unsigned char *entry = index->bytes + index->entries[at];
  const uint64_t values[] = {
      (uint64_t)stat->st_ctim.tv_sec, (uint64_t)stat->st_ctim.tv_nsec, (uint64_t)stat->st_mtim.tv_sec,
      (uint64_t)stat->st_mtim.tv_nsec, stat->st_dev, stat->st_ino,
  };
  for (int n = 0; n < 6; n += 1) write_32(entry + 4 * n, values[n]);
  write_32(entry + OWNER_AT, stat->st_uid);
  write_32(entry + OWNER_AT + 4, stat->st_gid);
  write_32(entry + OWNER_AT + 8, (uint64_t)stat->st_size);
}

void index_note_as(struct git_index *index, uint32_t at, const unsigned char *other) {
  unsigned char *entry = index->bytes + index->entries[at];
  memcpy(entry, other, MODE_AT);
  memcpy(entry + OWNER_AT, other + OWNER_AT, ID_AT - OWNER_AT);
}

void index_seal(struct git_index *index) {
  sha1(index->bytes, index->size - HASH_BYTES, index->bytes + index->size - HASH_BYTES);
}
