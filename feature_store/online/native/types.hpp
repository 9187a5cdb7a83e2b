// What the types of Python have in common.
#pragma once

#include <string>

#include "msgpack.hpp"
#include "objects.hpp"

namespace store {
namespace {

template <class T>
T* as(PyObject* object) {
    return reinterpret_cast<T*>(object);
}

template <class T>
void dispose(PyObject* self) {
    PyTypeObject* type = Py_TYPE(self);
    as<T>(self)->~T();
    type->tp_free(self);
    Py_DECREF(type);
}

void check_count(Py_ssize_t given, Py_ssize_t wanted) {
    if (given != wanted) refuse(PyExc_TypeError, "another number of arguments is expected");
}

std::string text_of(PyObject* bytes) { return std::string(bytes_of(bytes)); }

Type read_type(PyObject* object) {
    const Items numbers(object);
    const int64_t kind = integer_of(numbers[0]), item = integer_of(numbers[1]), size = integer_of(numbers[2]);
    const int64_t last = static_cast<int64_t>(Kind::List);
    if (kind < 0 || kind > last || item < 0 || item >= last || size < 0 || size > (1 << 28)) {
        refuse(PyExc_ValueError, "no such type");
    }
    return {static_cast<Kind>(kind), static_cast<Kind>(item), static_cast<uint32_t>(size)};
}

size_t size_of(PyObject* object) {
    const int64_t size = integer_of(object);
    if (size < 0 || size > INT32_MAX) throw Cannot();
    return static_cast<size_t>(size);
}

using Fast = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t);

PyCFunction fast(Fast function) { return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function)); }

template <class Function>
void* slot(Function function) {
    return reinterpret_cast<void*>(function);
}

}  // namespace
}  // namespace store
