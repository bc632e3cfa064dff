#pragma once

#include <Python.h>

/* A call of the plugin needs the interpreter's core only: no standard streams, no codecs, no search for modules. That is
 * PEP 587's provisional interface ("Multi-Phase Initialization Private Provisional API"), so it is taken only of the
 * version that it was tested with. FULL_START=1 build/freeze makes a program without it, and the tests run both. */
#if PY_VERSION_HEX >= 0x030b0000 && PY_VERSION_HEX < 0x030c0000 && !defined(FULL_START)
#define CORE_START 1
#else
#define CORE_START 0
#endif

/* Give sys and builtins what the plugin needs of the part of the start that was left out: 0, or -1 with an exception. */
int complete_core(int argc, char **argv, const char *program, const char *archive);

/* A built-in package has no directory: add the archive, where the rest of it is. 0, or -1 with an exception. */
int extend_packages(const char *archive);
