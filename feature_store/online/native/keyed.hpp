// Functions of the module on keys and vectors that Python has.
#pragma once

#include "slots.hpp"
#include "types.hpp"
#include "vectors.hpp"

namespace store {
namespace {

PyObject* keys_by_node(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 2);
        return by_node<Items>(Items(arguments[0]), bytes_of(arguments[1]));
    });
}

PyObject* module_put_replies(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 3);
        return put_replies(arguments[0], arguments[1], bytes_of(arguments[2]));
    });
}

PyObject* module_split_vectors(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    return guarded([&] {
        check_count(count, 3);
        return split_vectors(arguments[0], size_of(arguments[1]), arguments[2]);
    });
}

}  // namespace
}  // namespace store
