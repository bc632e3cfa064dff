/* In the place of the interpreter's own dynload_shlib.c: no module is ever loaded from a shared library.
 *
 * All that the program needs is built in, and a library of the node may be made for another C library. */
#include <Python.h>

typedef void (*function)(void);

/* The endings that importlib looks for: none. */
extern const char *_PyImport_DynLoadFiletab[];
const char *_PyImport_DynLoadFiletab[] = {NULL};

function _PyImport_FindSharedFuncptr(const char *prefix, const char *name, const char *path, FILE *file);

function _PyImport_FindSharedFuncptr(const char *prefix, const char *name, const char *path, FILE *file)
{
	(void)prefix, (void)name, (void)file;
	PyErr_Format(PyExc_ImportError, "%s: this program loads no libraries", path);
	return NULL;
}
