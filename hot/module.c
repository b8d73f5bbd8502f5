/* The module `kitefeed._hot.loops`: see hot/__init__.py. */

#include "loops.h"

static PyMethodDef FUNCTIONS[] = {
    {"repack", repack, METH_O, "Every readable packet of one of Kite's binary frames."},
    {"keep", (PyCFunction)(void (*)(void))keep, METH_FASTCALL, "Keeps, numbers and writes the ticks of a batch."},
    {NULL, NULL, 0, NULL},
};

/* Whether a type was made, and is known by its name. */
static int
add(PyObject *module, const char *name, PyObject *type)
{
    return type == NULL ? -1 : PyModule_AddObjectRef(module, name, type);
}

static int
fill(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    state->value_type = make_value_type(module);
    state->topic_type = make_topic_type(module);
    state->intake_type = make_intake_type(module);
    if (add(module, "Value", state->value_type) < 0 || add(module, "Topic", state->topic_type) < 0 ||
        add(module, "Intake", state->intake_type) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "REVISION", LOOPS_REVISION);
}

static int
visit(PyObject *module, visitproc visit, void *arg)
{
    struct state *state = PyModule_GetState(module);
    Py_VISIT(state->value_type);
    Py_VISIT(state->topic_type);
    Py_VISIT(state->intake_type);
    return 0;
}

static int
clear(PyObject *module)
{
    struct state *state = PyModule_GetState(module);
    Py_CLEAR(state->value_type);
    Py_CLEAR(state->topic_type);
    Py_CLEAR(state->intake_type);
    return 0;
}

static void
release(void *module)
{
    clear((PyObject *)module);
}

static PyModuleDef_Slot SLOTS[] = {
    {Py_mod_exec, (void *)fill},
    {0, NULL},
};

static PyModuleDef DEFINITION = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "kitefeed._hot.loops",
    .m_doc = "The loops that every tick passes, compiled.",
    .m_size = sizeof(struct state),
    .m_methods = FUNCTIONS,
    .m_slots = SLOTS,
    .m_traverse = visit,
    .m_clear = clear,
    .m_free = release,
};

PyMODINIT_FUNC
PyInit_loops(void)
{
    return PyModuleDef_Init(&DEFINITION);
}
