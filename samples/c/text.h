// The text that char_mlp.c and char_gpt.c learn from: characters as numbers from 0, and how well a
// simple table would do on it.
#ifndef SAMPLES_TEXT_H
#define SAMPLES_TEXT_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"

typedef struct {
  uint8_t* ids;         // one per character: its number among the symbols
  int64_t size, train;  // the last tenth is held out
  uint8_t symbols[256];
  int64_t n_symbols;
  const char* from;  // where it was found
} corpus;

// Appends a file; 0 if there is none.
static int read_file(corpus* c, const char* folder, const char* name) {
  char path[4096];
  snprintf(path, sizeof path, "%s%s", folder, name);
  FILE* file = fopen(path, "rb");
  if (!file) return 0;
  for (size_t got = 1; got > 0; c->size += (int64_t)got) {
    uint8_t* grown = realloc(c->ids, (size_t)c->size + 65536);
    if (!grown) die("out of memory for ", path);
    c->ids = grown;
    got = fread(c->ids + c->size, 1, 65536, file);
  }
  if (ferror(file)) die("cannot read ", path);
  fclose(file);
  return 1;
}

// Leaves out the spaces that lay text out: at the start of a line and after another space.
static void close_gaps(corpus* c) {
  int64_t n = 0;
  for (int64_t i = 0; i < c->size; i++) {
    const uint8_t before = n > 0 ? c->ids[n - 1] : '\n';
    if (c->ids[i] != ' ' || (before != ' ' && before != '\n')) c->ids[n++] = c->ids[i];
  }
  c->size = n;
}

// The file at `path`; if that is NULL, what a Debian system carries, or else the documents under
// `root`.
static void read_corpus(corpus* c, const char* path, const char* root) {
  static const char* const licences[] = {
      "Apache-2.0", "Artistic", "CC0-1.0",  "GFDL-1.2", "GFDL-1.3", "GPL-1",   "GPL-2",
      "GPL-3",      "LGPL-2",   "LGPL-2.1", "LGPL-3",   "MPL-1.1",  "MPL-2.0", NULL};
  static const char* const documents[] = {"/docs/ops.md", "/README.md", "/samples/README.md",
                                          "/LICENSE", NULL};
  c->from = path;
  if (path && !read_file(c, "", path)) die("cannot open ", path);
  if (!path) {
    c->from = "the licences of this system";
    for (int i = 0; licences[i]; i++) read_file(c, "/usr/share/common-licenses/", licences[i]);
    if (c->size < 50000) {
      c->from = "Millrace's own documents";
      for (int i = 0; documents[i]; i++) read_file(c, root, documents[i]);
    }
    close_gaps(c);
  }
  int seen[256] = {0};
  uint8_t number[256] = {0};
  for (int64_t i = 0; i < c->size; i++) seen[c->ids[i]] = 1;
  for (int k = 0; k < 256; k++) {
    if (!seen[k]) continue;
    number[k] = (uint8_t)c->n_symbols;
    c->symbols[c->n_symbols++] = (uint8_t)k;
  }
  for (int64_t i = 0; i < c->size; i++) c->ids[i] = number[c->ids[i]];
  c->train = c->size * 9 / 10;
}

// Held-out loss of a table that knows only the last character: what a network must beat.
static double bigram_loss(const corpus* c) {
  const int64_t n = c->n_symbols;
  double* pairs = calloc((size_t)(n * n + n), sizeof *pairs);
  if (!pairs) die("out of memory", "");
  double* single = pairs + n * n;
  for (int64_t i = 0; i + 1 < c->train; i++) {
    pairs[c->ids[i] * n + c->ids[i + 1]] += 1;
    single[c->ids[i]] += 1;
  }
  double sum = 0;
  for (int64_t i = c->train; i + 1 < c->size; i++) {
    const double pair = pairs[c->ids[i] * n + c->ids[i + 1]];
    sum -= log((pair + 0.1) / (single[c->ids[i]] + 0.1 * (double)n));
  }
  free(pairs);
  return sum / (double)(c->size - 1 - c->train);
}

#endif
