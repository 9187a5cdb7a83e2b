// Vectors of pre-joined views taken apart: the values of each group together, as Python's lists of bytes.
#pragma once

#include "msgpack.hpp"
#include "objects.hpp"

namespace store {

// The parts of vectors: of each group those of all entities, and the places of vectors that do not begin with the token,
// which stand for nothing. What is no bytes stands for all parts. Throws Cannot for what is no vector.
inline PyObject* split_vectors(PyObject* vectors, size_t width, PyObject* token) {
    const Items given(vectors);
    const bool has_token = token != Py_None;
    const std::string_view wanted = has_token ? bytes_of(token) : std::string_view();
    Owned list(checked(PyList_New(static_cast<Py_ssize_t>(width))));
    for (size_t part = 0; part < width; part++) {
        PyObject* column = checked(PyList_New(static_cast<Py_ssize_t>(given.size())));
        PyList_SET_ITEM(list.get(), static_cast<Py_ssize_t>(part), column);
    }
    const auto put = [&](size_t part, size_t i, PyObject* value) {  // steals
        PyList_SET_ITEM(PyList_GET_ITEM(list.get(), static_cast<Py_ssize_t>(part)), static_cast<Py_ssize_t>(i), value);
    };
    Owned others(checked(PyList_New(0)));
    for (size_t i = 0; i < given.size(); i++) {
        PyObject* vector = given[i];
        bool is_taken = !PyBytes_CheckExact(vector) && (vector != Py_None || !has_token);
        if (is_taken) {
            for (size_t part = 0; part < width; part++) put(part, i, Owned::shared(vector).release());
            continue;
        }
        if (vector != Py_None) {
            const std::string_view bytes = bytes_of(vector);
            const Byte* data = reinterpret_cast<const Byte*>(bytes.data());
            Reader in{data, data + bytes.size()};
            Item item;
            if (!read_item(in, item) || item.tag != Tag::Array) throw Cannot();
            const size_t expected = width + has_token;
            if (item.size != expected && !has_token) throw Cannot();
            const size_t count = item.size;
            is_taken = count == expected;
            for (size_t place = 0; place < count; place++) {
                if (!read_item(in, item) || (item.tag != Tag::Binary && item.tag != Tag::Nil)) throw Cannot();
                const char* data = reinterpret_cast<const char*>(item.data);
                if (has_token && place == 0) {
                    is_taken &= item.tag == Tag::Binary && std::string_view(data, item.size) == wanted;
                } else if (is_taken) {
                    put(place - has_token, i, item.tag == Tag::Nil ? Owned::shared(Py_None).release()
                                                                   : checked(PyBytes_FromStringAndSize(data, item.size)));
                }
            }
            if (in.at != in.end) throw Cannot();
        }
        if (!is_taken) {
            for (size_t part = 0; part < width; part++) put(part, i, Owned::shared(Py_None).release());
            Owned place(checked(PyLong_FromSize_t(i)));
            if (PyList_Append(others.get(), place.get()) != 0) throw Failed();
        }
    }
    return checked(PyTuple_Pack(2, list.get(), others.get()));
}

}  // namespace store
