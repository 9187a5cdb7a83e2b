// Python's side: owned references, arguments, and exceptions where C++ meets Python.
#pragma once

#include <utility>
#include <vector>

#include "out.hpp"

namespace store {

// A reference that is given back.
class Owned {
  public:
    Owned() = default;
    explicit Owned(PyObject* object) : object_(object) {}
    Owned(Owned&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    Owned& operator=(Owned&& other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }
    Owned(const Owned&) = delete;
    Owned& operator=(const Owned&) = delete;
    ~Owned() { Py_XDECREF(object_); }

    static Owned shared(PyObject* object) {
        Py_INCREF(object);
        return Owned(object);
    }
    PyObject* get() const { return object_; }
    PyObject* release() { return std::exchange(object_, nullptr); }

  private:
    PyObject* object_ = nullptr;
};

inline PyObject* checked(PyObject* object) {
    if (object == nullptr) throw Failed();
    return object;
}

[[noreturn]] inline void refuse(PyObject* kind, const char* why) {
    PyErr_SetString(kind, why);
    throw Failed();
}

inline int64_t integer_of(PyObject* object) {
    const long long value = PyLong_AsLongLong(object);
    if (value == -1 && PyErr_Occurred()) throw Failed();
    return value;
}

inline std::string_view bytes_of(PyObject* object) {
    if (!PyBytes_Check(object)) refuse(PyExc_TypeError, "bytes are expected");
    return {PyBytes_AS_STRING(object), static_cast<size_t>(PyBytes_GET_SIZE(object))};
}

// A list or tuple, as it is now: its items are kept as long as this.
class Items {
  public:
    explicit Items(PyObject* sequence) : fast_(checked(PySequence_Fast(sequence, "a list or tuple is expected"))) {}

    size_t size() const { return static_cast<size_t>(PySequence_Fast_GET_SIZE(fast_.get())); }
    PyObject* operator[](size_t i) const {
        if (i >= size()) refuse(PyExc_ValueError, "too few items");
        return PySequence_Fast_GET_ITEM(fast_.get(), static_cast<Py_ssize_t>(i));
    }

  private:
    Owned fast_;
};

inline std::string_view utf8_of(PyObject* text) {
    Py_ssize_t size;
    const char* data = PyUnicode_AsUTF8AndSize(text, &size);
    if (data == nullptr) {  // a lone surrogate
        PyErr_Clear();
        throw Cannot();
    }
    return {data, static_cast<size_t>(size)};
}

// An object of a type of ours, which begins as PyObject_HEAD.
template <class T>
Owned make(PyTypeObject* type) {
    PyObject* made = checked(type->tp_alloc(type, 0));
    PyObject head = *made;
    new (made) T();  // leaves the head as C++ pleases
    *made = head;
    return Owned(made);
}

// Runs what may throw; None stands for "cannot".
template <class Body>
PyObject* guarded(Body body) {
    try {
        return body();
    } catch (const Cannot&) {
        Py_RETURN_NONE;
    } catch (const Failed&) {
        return nullptr;
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

}  // namespace store
