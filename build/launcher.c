/* The program: CPython, embedded by its public interface, with what a plugin's call loads built into it.
 *
 * It replaces PyInstaller's boot loader. That executes itself a second time to have its libraries found, reads two
 * archives and installs its own importers, which takes several milliseconds of each call. What is not built in (the
 * command line, and the part of the standard library that a call rarely needs) is in _internal. */
#include <Python.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "frozen_modules.h"

static void require(PyStatus status)
{
	if (PyStatus_Exception(status))
		Py_ExitStatusException(status);
}

static void set(PyConfig *config, wchar_t **key, const char *value)
{
	require(PyConfig_SetBytesString(config, key, value));
}

static void add_path(PyConfig *config, const char *home, const char *name)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/%s", home, name);
	wchar_t *wide = Py_DecodeLocale(path, NULL);
	require(wide ? PyWideStringList_Append(&config->module_search_paths, wide) : PyStatus_NoMemory());
	PyMem_RawFree(wide);
}

static void initialize(int argc, char **argv, const char *program, const char *home)
{
	PyPreConfig before;
	PyConfig config;

	PyPreConfig_InitIsolatedConfig(&before);
	before.utf8_mode = 1;
	require(Py_PreInitialize(&before));
	PyImport_FrozenModules = frozen_modules;

	PyConfig_InitIsolatedConfig(&config);
	config.parse_argv = 0;
	config.site_import = 0;
	config.write_bytecode = 0;
	config.optimization_level = 1;
	config.pathconfig_warnings = 0;
	/* As in the interpreter's own program: if SIGPIPE were not ignored, a runtime that is gone would end us. */
	config.install_signal_handlers = 1;
	/* Set all of them, so that the interpreter searches for nothing. */
	set(&config, &config.executable, program);
	set(&config, &config.base_executable, program);
	set(&config, &config.home, home);
	set(&config, &config.prefix, home);
	set(&config, &config.exec_prefix, home);
	set(&config, &config.base_prefix, home);
	set(&config, &config.base_exec_prefix, home);
	set(&config, &config.stdlib_dir, home);
	config.module_search_paths_set = 1;
	add_path(&config, home, EXTENSIONS);
	add_path(&config, home, "modules.zip");
	require(PyConfig_SetBytesArgv(&config, argc, argv));
	require(Py_InitializeFromConfig(&config));
	PyConfig_Clear(&config);
}

/* A built-in package has no directory: add the place of the rest of it. */
static int extend_package(const char *name, const char *home)
{
	PyObject *package = PyImport_ImportModule(name);
	PyObject *path = package ? PyObject_GetAttrString(package, "__path__") : NULL;
	PyObject *directory = path ? PyUnicode_DecodeFSDefault(home) : NULL;
	PyObject *place = directory ? PyUnicode_FromFormat("%U/modules.zip/%s", directory, name) : NULL;
	int status = place && PyList_Check(path) ? PyList_Append(path, place) : -1;

	Py_XDECREF(place);
	Py_XDECREF(directory);
	Py_XDECREF(path);
	Py_XDECREF(package);
	return status;
}

/* Check that the command line's files exist, and load the libraries of its extension modules from beside the program.
 *
 * The loader uses a library that is loaded already, whatever the system has of that name. A path in the program (RPATH)
 * would do the same, but every call of the plugin would look there for the system's own libraries first. */
static int prepare_command_line(const char *home)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/modules.zip", home);
	if (access(path, R_OK) != 0) {
		fprintf(stderr, "cni-chain: %s: %s; the program needs the files beside it: install cni-chain again\n", path,
			strerror(errno));
		return -1;
	}
	for (const char *const *library = libraries; *library; library++) {
		snprintf(path, sizeof path, "%s/%s", home, *library);
		dlopen(path, RTLD_LAZY);
	}
	return 0;
}

/* Find this program's file, with every link followed; without a mounted /proc, by the path that was executed. */
static int find_program(char program[PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", program, PATH_MAX - 1);

	if (length > 0)
		program[length] = '\0';
	else if (!realpath((const char *)getauxval(AT_EXECFN), program))
		return -1;
	return 0;
}

/* Nearly all of the interpreter's data is written to while it starts: one call instead of three hundred page faults. */
static void populate_data(void)
{
#ifdef MADV_POPULATE_WRITE /* Linux 5.14; an older kernel refuses, and has the faults */
	extern char __data_start[], _end[];
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t start = (uintptr_t)__data_start & ~(page - 1);

	madvise((void *)start, (uintptr_t)_end - start, MADV_POPULATE_WRITE);
#endif
}

int main(int argc, char **argv)
{
	char program[PATH_MAX], home[PATH_MAX + 16];

	populate_data();
	if (find_program(program) != 0) {
		perror("cni-chain: its own file");
		return 1;
	}
	snprintf(home, sizeof home, "%.*s/_internal", (int)(strrchr(program, '/') - program), program);
	const char *command = getenv("CNI_COMMAND");
	if (!(command && *command) && prepare_command_line(home) != 0)
		return 1;
	initialize(argc, argv, program, home);

	PySys_SetObject("frozen", Py_True); /* as other tools that freeze programs do */

	PyObject *module = NULL, *answer = NULL;
	if (extend_package("encodings", home) == 0 && extend_package("cni_chain", home) == 0)
		module = PyImport_ImportModule("cni_chain.__main__");
	if (module)
		answer = PyObject_CallMethod(module, "run", NULL);
	if (!answer)
		PyErr_Print(); /* ends the process if the exception is SystemExit, as at the end of the command line */
	return Py_FinalizeEx() < 0 || !answer;
}
