// Series of a value for each year or month.
#ifndef SAMPLES_SERIES_H
#define SAMPLES_SERIES_H

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "options.h"

enum { MOST = 100000 };

typedef struct {
  double values[MOST];
  int64_t n, train;  // the first `train` are learned from
  int64_t per_year;  // 1 or 12
  int first_year;
  double mean, deviation;  // of those
} series;

// A year at the start of a line, then a comma and a value, or twelve values between spaces.
static inline void read_series(series* s, const char* path) {
  char line[4096];
  FILE* file = fopen(path, "r");
  if (!file) die("no such file as ", path);
  while (fgets(line, sizeof line, file)) {
    char* at = line;
    const long year = strtol(line, &at, 10);
    if (at == line || year < 1) continue;  // headings
    const int months = *at != ',';
    if (s->n == 0) {
      s->first_year = (int)year;
      s->per_year = months ? 12 : 1;
    }
    for (int k = 0; k < (months ? 12 : 1); k++) {
      char* end = at + (months ? 0 : 1);
      const double value = strtod(at + (months ? 0 : 1), &end);
      if (end == at + (months ? 0 : 1)) break;  // the last year may be short
      if (s->n == MOST) die("more than 100000 values in ", path);
      if (!isfinite(value)) die("a value is no number in ", path);
      s->values[s->n++] = value;
      at = end;
    }
  }
  fclose(file);
  if (s->n < 40) die("fewer than 40 values in ", path);
}

// Cycles of 9 to 13 years that rise faster than they fall, to heights of their own.
static inline void make_series(series* s, uint64_t seed) {
  uint64_t state = 2 * seed + 1;
  s->per_year = 1;
  s->first_year = 1700;
  while (s->n < 310) {
    double drawn[3];
    for (int k = 0; k < 3; k++) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      drawn[k] = (double)(state >> 40) / 16777216;
    }
    const int years = 9 + (int)(5 * drawn[0]);
    for (int year = 0; year < years; year++) {
      const double phase = pow((year + 0.5) / years, 0.75);
      state = state * 6364136223846793005u + 1442695040888963407u;
      const double noise = 10 * ((double)(state >> 40) / 16777216 - 0.5);
      const double height = 60 + 110 * drawn[1];
      s->values[s->n++] = fabs(height * sin(3.14159265 * phase) * sin(3.14159265 * phase) + noise);
    }
  }
}

#endif
