/* What Python holds and the loops fill, as attributes that a loop reaches without Python. */

#include "objects.h"

#include <structmember.h>

/* --- one last value: the twin of `PythonValue` in actors/broadcaster/store.py ------------------- */

static PyMemberDef VALUE_MEMBERS[] = {
    {"head", T_OBJECT_EX, offsetof(Value, head), READONLY, NULL},
    {"seq", T_LONGLONG, offsetof(Value, seq), 0, NULL},
    {"origin", T_OBJECT_EX, offsetof(Value, origin), 0, NULL},
    {"flags", T_OBJECT_EX, offsetof(Value, flags), 0, NULL},
    {"body", T_OBJECT_EX, offsetof(Value, body), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyObject *
value_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *head, *origin, *flags, *body;
    long long seq;
    if (kwargs != NULL && PyDict_Size(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Value takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "SLOOO:Value", &head, &seq, &origin, &flags, &body))
        return NULL;
    Value *self = (Value *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    self->head = Py_NewRef(head);
    self->seq = seq;
    self->origin = Py_NewRef(origin);
    self->flags = Py_NewRef(flags);
    self->body = Py_NewRef(body);
    return (PyObject *)self;
}

static void
value_dealloc(PyObject *object)
{
    Value *self = (Value *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->head);
    Py_XDECREF(self->origin);
    Py_XDECREF(self->flags);
    Py_XDECREF(self->body);
    PyObject_Free(object);
    Py_DECREF(type);
}

static PyType_Slot VALUE_SLOTS[] = {
    {Py_tp_members, VALUE_MEMBERS},
    {Py_tp_new, (void *)value_new},
    {Py_tp_dealloc, (void *)value_dealloc},
    {Py_tp_doc, (void *)"One last value."},
    {0, NULL},
};

static PyType_Spec VALUE_SPEC = {
    .name = "kitefeed._hot.loops.Value",
    .basicsize = sizeof(Value),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = VALUE_SLOTS,
};

PyObject *
make_value_type(PyObject *module)
{
    return PyType_FromModuleAndSpec(module, &VALUE_SPEC, NULL);
}

/* --- one topic: the twin of `PythonTopic` in client/values.py ------------------------------------ */

#define PLACE(name, flags) {#name, T_OBJECT_EX, offsetof(Topic, name), flags, NULL}
static PyMemberDef TOPIC_MEMBERS[] = {
    PLACE(key, READONLY), PLACE(is_wanted, READONLY), PLACE(seq, 0), PLACE(arrival, 0),
    PLACE(value_seq, 0), PLACE(flags, 0), PLACE(body, 0), {NULL, 0, 0, 0, NULL},
};

static PyObject *
topic_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *key;
    int is_wanted;
    if (kwargs != NULL && PyDict_Size(kwargs) != 0) {
        PyErr_SetString(PyExc_TypeError, "Topic takes no keywords");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "Up:Topic", &key, &is_wanted))
        return NULL;
    Topic *self = (Topic *)PyType_GenericAlloc(type, 0);
    if (self == NULL)
        return NULL;
    self->key = Py_NewRef(key);
    self->is_wanted = PyBool_FromLong(is_wanted);
    self->seq = PyLong_FromLong(0);
    self->arrival = Py_NewRef(Py_None);
    self->value_seq = PyLong_FromLong(0);
    self->flags = PyLong_FromLong(0);
    self->body = PyBytes_FromStringAndSize("", 0);
    self->next = -1;
    if (self->seq == NULL || self->value_seq == NULL || self->flags == NULL || self->body == NULL)
        Py_CLEAR(self);
    return (PyObject *)self;
}

static void
topic_dealloc(PyObject *object)
{
    Topic *self = (Topic *)object;
    PyTypeObject *type = Py_TYPE(object);
    Py_XDECREF(self->key);
    Py_XDECREF(self->is_wanted);
    Py_XDECREF(self->seq);
    Py_XDECREF(self->arrival);
    Py_XDECREF(self->value_seq);
    Py_XDECREF(self->flags);
    Py_XDECREF(self->body);
    PyObject_Free(object);
    Py_DECREF(type);
}

/* Nothing that a topic holds can hold the topic, as the collector sees it: an `Arrival` is outside of
   it, and all else are numbers and bytes. */
static PyType_Slot TOPIC_SLOTS[] = {
    {Py_tp_members, TOPIC_MEMBERS},
    {Py_tp_new, (void *)topic_new},
    {Py_tp_dealloc, (void *)topic_dealloc},
    {Py_tp_doc, (void *)"What is known of one topic."},
    {0, NULL},
};

static PyType_Spec TOPIC_SPEC = {
    .name = "kitefeed._hot.loops.Topic",
    .basicsize = sizeof(Topic),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = TOPIC_SLOTS,
};

PyObject *
make_topic_type(PyObject *module)
{
    return PyType_FromModuleAndSpec(module, &TOPIC_SPEC, NULL);
}
