// Options of the larger samples: a table of names, where values go, and what --help says.
#ifndef SAMPLES_OPTIONS_H
#define SAMPLES_OPTIONS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char* program_name = "sample";

static void die(const char* what, const char* detail) {
  fprintf(stderr, "%s: %s%s\n", program_name, what, detail);
  exit(1);
}

// Kinds: s text, i integer, f number, b switch (an integer that becomes 1).
typedef struct {
  const char* name;
  char kind;
  void* value;
  const char* help;
} option;

static void read_options(const option* options, size_t n, int argc, char** argv) {
  for (int a = 1; a < argc; a++) {
    size_t k = 0;
    while (k < n && strcmp(argv[a], options[k].name) != 0) k++;
    if (k == n) {
      const int asked = strcmp(argv[a], "--help") == 0;
      if (!asked) fprintf(stderr, "%s: unknown option %s\n", program_name, argv[a]);
      for (k = 0; k < n; k++)
        fprintf(asked ? stdout : stderr, "  %s %s\n", options[k].name, options[k].help);
      exit(asked ? 0 : 1);
    }
    if (options[k].kind == 'b') {
      *(int64_t*)options[k].value = 1;
      continue;
    }
    if (++a == argc) die("a value is missing after ", options[k].name);
    char* end = argv[a] + strlen(argv[a]);
    if (options[k].kind == 's') *(const char**)options[k].value = argv[a];
    if (options[k].kind == 'i') *(int64_t*)options[k].value = strtoll(argv[a], &end, 10);
    if (options[k].kind == 'f') *(double*)options[k].value = strtod(argv[a], &end);
    if (*end || !*argv[a]) die("not a number: ", argv[a]);
  }
}

#endif
