/* The objects that Python holds and the loops fill. Their types are in hot/objects.c. */

#ifndef KITEFEED_OBJECTS_H
#define KITEFEED_OBJECTS_H

#include "loops.h"

/* One last value. */
typedef struct {
    PyObject_HEAD
    PyObject *head;
    long long seq;
    PyObject *origin;
    PyObject *flags;
    PyObject *body;
} Value;

/* What is known of one topic. */
typedef struct topic {
    PyObject_HEAD
    PyObject *key;
    PyObject *is_wanted;
    PyObject *seq;
    PyObject *arrival;
    PyObject *value_seq;
    PyObject *flags;
    PyObject *body;
    long long next; /* its number after the ticks that are looked at; -1 when none are */
} Topic;

/* Puts `by` in the place of what is there. */
static inline void
replace(PyObject **place, PyObject *by)
{
    PyObject *old = *place;
    *place = Py_NewRef(by);
    Py_XDECREF(old);
}

#endif
