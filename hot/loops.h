/* What the loops share. Only the limited API is used, so that one build runs on every Python since
   3.11 (PEP 384).

   What these functions read came from a network, into the process that holds the session. So:
   lengths are checked before they are used, by subtraction from what is left and never by a sum
   that could wrap; nothing is written but into buffers whose size is a constant here; every result
   of the C API is looked at; and no object of Python's is trusted to be of the type it should be. */

#ifndef KITEFEED_LOOPS_H
#define KITEFEED_LOOPS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Kite's numbers are big-endian, and so are msgpack's. */
static inline uint16_t
read_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t
read_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | (uint32_t)at[3];
}

static inline uint8_t *
write_u32(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
    return out + 4;
}

/* A number as msgpack has it, at most 5 bytes: as short as it can be, or in its full width. */
static inline uint8_t *
put_unsigned(uint8_t *out, uint32_t value, int is_wide)
{
    if (is_wide || value > 0xFFFF) {
        *out++ = 0xCE;
        return write_u32(out, value);
    }
    if (value > 0xFF) {
        *out++ = 0xCD;
        *out++ = (uint8_t)(value >> 8);
    }
    else if (value > 0x7F)
        *out++ = 0xCC;
    *out++ = (uint8_t)value;
    return out;
}

/* Appends `item` to `list` and takes it over, whatever comes of it. -1 with an exception set for an
   `item` of NULL, too. */
static inline int
append_new(PyObject *list, PyObject *item)
{
    if (item == NULL)
        return -1;
    int result = PyList_Append(list, item);
    Py_DECREF(item);
    return result;
}

/* Counted up with every change that a caller in Python notices: see REVISION in hot/__init__.py. */
#define LOOPS_REVISION 3

struct state {
    PyObject *value_type, *topic_type, *intake_type;
};

PyObject *repack(PyObject *module, PyObject *frame);
PyObject *keep(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *make_value_type(PyObject *module);
PyObject *make_topic_type(PyObject *module);
PyObject *make_intake_type(PyObject *module);

#endif
