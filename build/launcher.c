/* The program: CPython, embedded by its public interface, linked statically with what a plugin's call loads.
 *
 * It replaces PyInstaller's boot loader. That executes itself a second time to have its libraries found, reads two
 * archives and installs its own importers, which takes several milliseconds of each call. What is not built in (the
 * command line, and the part of the standard library that a call rarely needs) is in _internal/modules.zip. */
#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core_start.h"
#include "modules.h"
#include "name_services.h"

/* The runtime gets an Error object (CNI's SPEC, section 5), also before there is an interpreter that could make one. */
static const char cannot_start[] = "{\"cniVersion\":\"1.1.0\",\"code\":999,\"msg\":\"cni-chain can't start; its standard "
				   "error says why: give it more memory, or install cni-chain again\"}\n";

static int standard_output = STDOUT_FILENO; /* the runtime's; cni_chain/plugin/protocol.py turns 1 into standard error */

#ifdef __SANITIZE_ADDRESS__ /* only in a test's program: the interpreter frees nothing at its end */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}
#endif

static int is_plugin(void)
{
	const char *command = getenv("CNI_COMMAND");

	return command && *command;
}

static _Noreturn void give_up(const char *why)
{
	fprintf(stderr, "cni-chain: %s\n", why);
	if (is_plugin() && write(standard_output, cannot_start, sizeof cannot_start - 1) < 0)
		perror("cni-chain: standard output");
	_exit(1);
}

/* The interpreter aborts where memory ends in the first steps of its start. */
static void aborted(int number)
{
	(void)number;
	_exit(write(standard_output, cannot_start, sizeof cannot_start - 1) < 0 ? 2 : 1);
}

static void require(PyStatus status)
{
	if (PyStatus_Exception(status))
		give_up(status.err_msg ? status.err_msg : "the interpreter can't start");
}

static void set(PyConfig *config, wchar_t **key, const char *value)
{
	require(PyConfig_SetBytesString(config, key, value));
}

static void add_path(PyConfig *config, const char *path)
{
	wchar_t *wide = Py_DecodeLocale(path, NULL);

	require(wide ? PyWideStringList_Append(&config->module_search_paths, wide) : PyStatus_NoMemory());
	PyMem_RawFree(wide);
}

static void initialize(int argc, char **argv, const char *program, const char *home, const char *archive, int core)
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
	config.install_signal_handlers = !is_plugin();
#if CORE_START
	config._init_main = !core;
#else
	(void)core;
#endif
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
	add_path(&config, archive);
	require(PyConfig_SetBytesArgv(&config, argc, argv));
	require(Py_InitializeFromConfig(&config));
	PyConfig_Clear(&config);
}

/* Set signals as every call needs them, whatever the caller's are. Without its own interpreter's handlers, SIGINT ends
 * the process as SIGTERM does; a Python exception could interrupt any line. */
static void set_signals(void)
{
	signal(SIGABRT, aborted);
	signal(SIGPIPE, SIG_IGN); /* or a runtime that is gone would end us */
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGCHLD, SIG_DFL); /* or nobody could learn how a delegate ended */
}

/* Return 0 if the archive is there; the command line can't start without it. */
static int find_archive(const char *archive)
{
	if (access(archive, R_OK) == 0)
		return 0;
	fprintf(stderr, "cni-chain: %s: %s; the program needs the files beside it: install cni-chain again\n", archive,
		strerror(errno));
	return -1;
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

/* Report a module that can't be loaded, with what to do; other exceptions with a traceback, as Python does. */
static void report(const char *archive)
{
	PyObject *kind = PyErr_Occurred(), *value, *trace;

	if (!PyErr_ExceptionMatches(PyExc_ImportError) && strcmp(((PyTypeObject *)kind)->tp_name, "zlib.error") != 0) {
		PyErr_Print(); /* ends the process if the exception is SystemExit, as at the end of the command line */
		return;
	}
	PyErr_Fetch(&kind, &value, &trace);
	PyObject *text = value ? PyObject_Str(value) : NULL;
	const char *why = text ? PyUnicode_AsUTF8(text) : NULL;
	fprintf(stderr, "cni-chain: %s: %s; the program needs the files beside it: install cni-chain again\n", archive,
		why ? why : "can't be read");
}

int main(int argc, char **argv)
{
	char program[PATH_MAX], home[PATH_MAX + 16], archive[PATH_MAX + 32];

	populate_data();
	if (find_program(program) != 0)
		give_up(strerror(errno));
	snprintf(home, sizeof home, "%.*s/_internal", (int)(strrchr(program, '/') - program), program);
	snprintf(archive, sizeof archive, "%s/modules.zip", home);
	if (!is_plugin()) {
		if (find_archive(archive) != 0)
			return 1;
		pin_name_services(); /* the plugin asks for no user, group or host, and need not read nsswitch.conf */
	} else {
		int kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);

		standard_output = kept >= 0 ? kept : STDOUT_FILENO;
		set_signals();
	}
	initialize(argc, argv, program, home, archive, is_plugin());
	if (is_plugin())
		PyGC_Disable(); /* a call ends before its few cycles matter */
	PySys_SetObject("frozen", Py_True); /* as other tools that freeze programs do */

	PyObject *module = NULL, *answer = NULL;
#if CORE_START
	int ready = is_plugin() ? complete_core(argc, argv, program, archive) : extend_packages(archive);
#else
	int ready = extend_packages(archive);
#endif
	if (ready == 0)
		module = PyImport_ImportModule("cni_chain.__main__");
	if (module)
		answer = PyObject_CallMethod(module, "run", NULL);
	if (!answer && is_plugin() && !PyErr_ExceptionMatches(PyExc_SystemExit)) {
		const PyTypeObject *kind = (PyTypeObject *)PyErr_Occurred(); /* an exception may be lost for want of memory */
		give_up(kind ? kind->tp_name : "MemoryError");		     /* without a traceback, which nobody could read */
	}
	if (!answer)
		report(archive);
	return Py_FinalizeEx() < 0 || !answer;
}
