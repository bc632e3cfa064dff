/* How a call of the plugin starts: the interpreter's core, and modules that are built in. When something else is wanted,
 * which is rare, the start is completed. */
#include "core_start.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static int extend_package(const char *name, const char *archive)
{
	PyObject *package = PyImport_ImportModule(name);
	PyObject *path = package ? PyObject_GetAttrString(package, "__path__") : NULL;
	PyObject *whole = path ? PyUnicode_DecodeFSDefault(archive) : NULL;
	PyObject *place = whole ? PyUnicode_FromFormat("%U/%s", whole, name) : NULL;
	int status = place && PyList_Check(path) ? PyList_Append(path, place) : -1;

	Py_XDECREF(place);
	Py_XDECREF(whole);
	Py_XDECREF(path);
	Py_XDECREF(package);
	return status;
}

int extend_packages(const char *archive)
{
	return extend_package("encodings", archive) || extend_package("cni_chain", archive) ? -1 : 0;
}

#if CORE_START

static char archive_of_modules[PATH_MAX + 32];
static PyObject *whole_import; /* builtins.__import__ as the interpreter has it */

/* Execute a module that is built in, and its packages before it: 1. It was loaded before: 1. It isn't built in: 0. With an
 * exception: -1. Such a module has no spec and no loader: nothing of the plugin looks at one. */
static int load(PyObject *name)
{
	PyObject *modules = PySys_GetObject("modules"), *package = NULL, *last = NULL;
	Py_ssize_t length = PyUnicode_GetLength(name), dot = PyUnicode_FindChar(name, '.', 0, length, -1);
	int status = modules ? PyDict_Contains(modules, name) : -1;

	if (status != 0)
		return status;
	if (dot > 0) {
		package = PyUnicode_Substring(name, 0, dot);
		last = PyUnicode_Substring(name, dot + 1, length);
		status = package && last ? load(package) : -1;
		if (status != 1)
			goto out;
	}
	status = PyImport_ImportFrozenModuleObject(name);
	if (status == 1 && package) {
		PyObject *parent = PyDict_GetItemWithError(modules, package), *module = PyDict_GetItemWithError(modules, name);
		if (parent && module && PyObject_SetAttr(parent, last, module) != 0)
			status = -1;
	}
out:
	Py_XDECREF(last);
	Py_XDECREF(package);
	return status;
}

/* Execute the modules of a package that `names` asks for, as in `from package import names`. */
static int load_from(PyObject *package, PyObject *names)
{
	int status = 1;

	for (Py_ssize_t one = 0; status >= 0 && one < PyTuple_Size(names); one++) {
		PyObject *name = PyUnicode_FromFormat("%U.%U", package, PyTuple_GetItem(names, one));
		status = name ? load(name) : -1;
		Py_XDECREF(name);
	}
	return status;
}

/* Make and execute a module in C, as importlib does: 0, or -1 with an exception. All that is looked at of its spec is the
 * name. */
static int load_in_c(PyObject *modules, PyObject *name)
{
	PyObject *imp = PyDict_GetItemString(modules, "_imp"), *implementation = PySys_GetObject("implementation");
	PyObject *spec = implementation ? PyObject_CallNoArgs((PyObject *)Py_TYPE(implementation)) : NULL;
	PyObject *module = NULL, *done = NULL;

	if (imp && spec && PyObject_SetAttrString(spec, "name", name) == 0)
		module = PyObject_CallMethod(imp, "create_builtin", "O", spec);
	if (module && PyDict_SetItem(modules, name, module) == 0 &&
	    !(done = PyObject_CallMethod(imp, "exec_builtin", "O", module)))
		PyDict_DelItem(modules, name);
	Py_XDECREF(done);
	Py_XDECREF(module);
	Py_XDECREF(spec);
	return done ? 0 : -1;
}

/* builtins.__import__ of a plugin's call: modules of cni_chain that are built in are executed at once. The interpreter's
 * own finders and loaders, written in Python, would take an eighth of an ADD's instructions for them. */
static PyObject *quick_import(PyObject *self, PyObject *arguments)
{
	PyObject *name, *globals = NULL, *locals = NULL, *names = NULL;
	int level = 0, status = 0;

	(void)self;
	if (!PyArg_ParseTuple(arguments, "U|OOOi", &name, &globals, &locals, &names, &level))
		return NULL;
	const char *text = PyUnicode_AsUTF8(name);
	PyObject *modules = PySys_GetObject("modules");
	if (!text || !modules || level != 0) {
		status = text ? 0 : -1;
	} else if (strncmp(text, "cni_chain", strlen("cni_chain")) == 0) {
		status = load(name);
		if (status == 1 && names && PyTuple_Check(names) &&
		    (!strcmp(text, "cni_chain") || !strcmp(text, "cni_chain.plugin")))
			status = load_from(name, names);
	} else if (PyDict_Contains(modules, name) == 0) {
		for (struct _inittab *one = PyImport_Inittab; one->name && status == 0; one++)
			if (strcmp(one->name, text) == 0)
				status = load_in_c(modules, name) == 0 ? 1 : -1;
	}
	return status >= 0 ? PyImport_ImportModuleLevelObject(name, globals, locals, names, level) : NULL;
}

static PyMethodDef importing = {"__import__", quick_import, METH_VARARGS, NULL};

/* The last of sys.meta_path, asked for what is not built in, which hardly a call needs: complete the interpreter, whose
 * own finders then have the answer. */
static PyObject *find_spec(PyObject *self, PyObject *arguments)
{
	PyObject *meta_path = PySys_GetObject("meta_path");
	Py_ssize_t place = meta_path && PyList_Check(meta_path) ? PySequence_Index(meta_path, self) : -1;

	if (place < 0 || PySequence_DelItem(meta_path, place) != 0 ||
	    PyDict_SetItemString(PyEval_GetBuiltins(), "__import__", whole_import) != 0)
		return NULL;
	PyStatus status = _Py_InitializeMain();
	if (PyStatus_Exception(status))
		return PyErr_Format(PyExc_ImportError, "%s", status.err_msg);
	if (extend_packages(archive_of_modules) != 0)
		return NULL;
	PyObject *importlib = PyImport_ImportModule("_frozen_importlib"), *found = NULL;
	PyObject *find = importlib ? PyObject_GetAttrString(importlib, "_find_spec") : NULL;
	if (find)
		found = PyObject_CallObject(find, arguments);
	Py_XDECREF(find);
	Py_XDECREF(importlib);
	return found;
}

static PyMethodDef finder_methods[] = {{"find_spec", find_spec, METH_VARARGS, NULL}, {0}};
static struct PyModuleDef finder = {PyModuleDef_HEAD_INIT, "_completing", NULL, 0, finder_methods, NULL, NULL, NULL, NULL};

int complete_core(int argc, char **argv, const char *program, const char *archive)
{
	PyObject *builtins = PyEval_GetBuiltins(), *importer = PyCFunction_New(&importing, NULL);

	whole_import = Py_XNewRef(PyDict_GetItemString(builtins, "__import__"));
	int failed = !whole_import || !importer || PyDict_SetItemString(builtins, "__import__", importer) != 0;
	PyObject *io = PyImport_ImportModule("_io"), *open = io ? PyObject_GetAttrString(io, "open") : NULL;
	PyObject *path = PyUnicode_DecodeFSDefault(program), *list = PyList_New(argc), *last = PyModule_Create(&finder);
	PyObject *meta_path = PySys_GetObject("meta_path");
	int status = !failed && open && path && list && last && meta_path && PyList_Append(meta_path, last) == 0 ? 0 : -1;

	snprintf(archive_of_modules, sizeof archive_of_modules, "%s", archive);
	for (int one = 0; status == 0 && one < argc; one++) {
		PyObject *argument = PyUnicode_DecodeFSDefault(argv[one]);
		status = argument ? PyList_SetItem(list, one, argument) : -1;
	}
	if (status == 0 && (PySys_SetObject("argv", list) || PySys_SetObject("executable", path) ||
			    PyDict_SetItemString(builtins, "open", open)))
		status = -1;
	Py_XDECREF(last);
	Py_XDECREF(list);
	Py_XDECREF(path);
	Py_XDECREF(open);
	Py_XDECREF(io);
	Py_XDECREF(importer);
	return status;
}

#endif
