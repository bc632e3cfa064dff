/* _system_calls: system calls that Python's own modules don't offer, in place of ctypes, which a static program can't
 * have (cni_chain/plugin/raw.py loads it, cni_chain/node/system_calls.py has their names and numbers). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <unistd.h>

enum { ARGUMENTS = 6 }; /* of a system call, on every architecture */

/* Turn one argument into what a register holds: an integer as it is, a buffer as its address. */
static int to_register(PyObject *argument, long *value, Py_buffer *buffer)
{
	if (PyLong_Check(argument)) {
		*value = (long)PyLong_AsUnsignedLongMask(argument); /* -1 and flags of 64 bits alike */
		return PyErr_Occurred() ? -1 : 0;
	}
	/* Where the kernel writes, the caller passes a bytearray; what it reads may be bytes. */
	if (PyObject_GetBuffer(argument, buffer, PyBUF_SIMPLE) != 0)
		return -1;
	*value = (long)buffer->buf;
	return 0;
}

static PyObject *system_call(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
	long values[1 + ARGUMENTS] = {0}, result = -1;
	Py_buffer buffers[1 + ARGUMENTS] = {0};
	Py_ssize_t taken;

	(void)module;
	if (count < 1 || count > 1 + ARGUMENTS)
		return PyErr_Format(PyExc_TypeError, "system_call() takes a number and at most %d arguments", ARGUMENTS);
	for (taken = 0; taken < count; taken++) {
		if (to_register(arguments[taken], &values[taken], &buffers[taken]) != 0)
			break;
	}
	if (taken == count) {
		int error;

		Py_BEGIN_ALLOW_THREADS
		result = syscall(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
		error = errno;
		Py_END_ALLOW_THREADS
		errno = error;
		if (result == -1)
			PyErr_SetFromErrno(PyExc_OSError);
	}
	for (Py_ssize_t one = 0; one < taken; one++) {
		if (buffers[one].obj)
			PyBuffer_Release(&buffers[one]);
	}
	return PyErr_Occurred() ? NULL : PyLong_FromLong(result);
}

/* METH_FASTCALL has a type of its own; the interpreter calls by the flag. */
static PyObject *address(PyObject *module, PyObject *argument)
{
	Py_buffer buffer;

	(void)module;
	if (PyObject_GetBuffer(argument, &buffer, PyBUF_WRITABLE) != 0)
		return NULL;
	PyObject *found = PyLong_FromVoidPtr(buffer.buf);
	PyBuffer_Release(&buffer);
	return found;
}

static PyMethodDef methods[] = {
	{"address", address, METH_O,
	 "address(buffer): where it is, for a structure that points to it. The caller keeps it, and its size."},
	{"system_call", (PyCFunction)(void (*)(void))system_call, METH_FASTCALL,
	 "system_call(number, *arguments): the kernel's answer; raises OSError. An argument is an integer or a buffer."},
	{0},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_system_calls", NULL, 0, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__system_calls(void);

PyMODINIT_FUNC PyInit__system_calls(void)
{
	return PyModule_Create(&definition);
}
