// Bytes that grow: what answers and commands are written into.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <new>
#include <string_view>

namespace store {

struct Cannot {};  // the Python path says what is wrong, or does it
struct Failed {};  // a Python exception is set

// Bytes of Python that grow.
class Out {
  public:
    explicit Out(size_t expected) : bytes_(PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(expected))) {
        if (bytes_ == nullptr) throw Failed();
        at_ = PyBytes_AS_STRING(bytes_);
        end_ = at_ + expected;
    }
    Out(const Out&) = delete;
    Out& operator=(const Out&) = delete;
    ~Out() { Py_XDECREF(bytes_); }

    // Where so many bytes may be written; `wrote` says how far they reach.
    char* room(size_t count) {
        if (static_cast<size_t>(end_ - at_) < count) grow(count);
        return at_;
    }
    void wrote(char* at) { at_ = at; }

    void add(const void* data, size_t size) {
        std::memcpy(room(size), data, size);
        at_ += size;
    }
    void add(std::string_view text) { add(text.data(), text.size()); }
    void add(char character) {
        *room(1) = character;
        at_++;
    }
    void take_back() { at_--; }
    // Takes bytes in the middle away; what follows moves up.
    void take_out(size_t from, size_t count) {
        char* gap = PyBytes_AS_STRING(bytes_) + from;
        std::memmove(gap, gap + count, static_cast<size_t>(at_ - gap) - count);
        at_ -= count;
    }
    char* written(size_t from) { return PyBytes_AS_STRING(bytes_) + from; }
    size_t size() const { return static_cast<size_t>(at_ - PyBytes_AS_STRING(bytes_)); }
    std::string_view part(size_t from, size_t to) const { return {PyBytes_AS_STRING(bytes_) + from, to - from}; }

    PyObject* finish() {
        if (_PyBytes_Resize(&bytes_, static_cast<Py_ssize_t>(size())) != 0) throw Failed();
        PyObject* done = bytes_;
        bytes_ = nullptr;
        return done;
    }

  private:
    PyObject* bytes_;
    char* at_;
    char* end_;

    void grow(size_t count) {
        const size_t used = size();
        const size_t wanted = used + std::max(count, used / 2 + 64);
        if (_PyBytes_Resize(&bytes_, static_cast<Py_ssize_t>(wanted)) != 0) throw Failed();
        at_ = PyBytes_AS_STRING(bytes_) + used;
        end_ = PyBytes_AS_STRING(bytes_) + wanted;
    }
};

inline void add_integer(Out& out, int64_t value) {
    char* at = out.room(20);
    out.wrote(std::to_chars(at, at + 20, value).ptr);
}

}  // namespace store
