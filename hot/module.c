/* The module `kitefeed._hot.loops`: see hot/__init__.py. */

#include "loops.h"

static PyMethodDef FUNCTIONS[] = {
    {"repack", repack, METH_O, "Every readable packet of one of Kite's binary frames."},
    {NULL, NULL, 0, NULL},
};

static int
fill(PyObject *module)
{
    return PyModule_AddIntConstant(module, "REVISION", LOOPS_REVISION);
}

static PyModuleDef_Slot SLOTS[] = {
    {Py_mod_exec, (void *)fill},
    {0, NULL},
};

static PyModuleDef DEFINITION = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "kitefeed._hot.loops",
    .m_doc = "The loops that every tick passes, compiled.",
    .m_size = 0,
    .m_methods = FUNCTIONS,
    .m_slots = SLOTS,
};

PyMODINIT_FUNC
PyInit_loops(void)
{
    return PyModuleDef_Init(&DEFINITION);
}
