// The head of a plain GET of vectors, read in one pass. Whatever is unusual in it is left to the parser of HTTP.
#pragma once

#include <string>

#include "objects.hpp"

namespace store {

constexpr size_t MOST_HEAD = 1 << 16, MOST_PARAMETERS = 16, LONGEST_REQUEST_ID = 200;
constexpr char FIELD_END = '\n';

struct Parameter {
    std::string_view name, value;
};

// What a head asks for. Texts are parts of the bytes that were read, and without any encoding.
struct Head {
    PyObject_HEAD
    Owned data;
    // Path, Authorization, Accept and X-Model, each before a newline; then the query without the values of `given`.
    std::string key;
    std::string_view request_id;  // that the caller gave; empty if it gave none
    std::vector<Parameter> given;  // the parameters but for `features` and `shape`, in their order
};

// Whether a character may be in a path or query that needs no decoding.
inline bool is_plain(char each) {
    if (each <= ' ' || each >= 0x7f) return false;
    switch (each) {
        case '%': case '+': case '#': case '"': case '<': case '>': case '\\': case '^': case '`': case '{': case '|': case '}':
            return false;
        default: return true;
    }
}

inline bool is_token(char each) {
    if ((each >= 'a' && each <= 'z') || (each >= 'A' && each <= 'Z') || (each >= '0' && each <= '9')) return true;
    switch (each) {
        case '!': case '#': case '$': case '%': case '&': case '\'': case '*': case '+': case '-': case '.': case '^':
        case '_': case '`': case '|': case '~':
            return true;
        default: return false;
    }
}

// Whether a name is this one, which is in lower case.
inline bool is_name(std::string_view name, std::string_view lower) {
    if (name.size() != lower.size()) return false;
    for (size_t i = 0; i < name.size(); i++) {
        const char each = name[i] >= 'A' && name[i] <= 'Z' ? static_cast<char>(name[i] | 0x20) : name[i];
        if (each != lower[i]) return false;
    }
    return true;
}

// The part of a text that is left to read.
class Scanner {
  public:
    explicit Scanner(std::string_view text) : at_(text.data()), end_(text.data() + text.size()) {}

    bool is_done() const { return at_ == end_; }
    char next() const { return at_ < end_ ? *at_ : '\0'; }
    void skip() { at_++; }
    bool take(std::string_view expected) {
        if (static_cast<size_t>(end_ - at_) < expected.size()) return false;
        if (std::memcmp(at_, expected.data(), expected.size()) != 0) return false;
        at_ += expected.size();
        return true;
    }
    template <class Is>
    std::string_view take_while(Is is) {
        const char* begin = at_;
        while (at_ < end_ && is(*at_)) at_++;
        return {begin, static_cast<size_t>(at_ - begin)};
    }

  private:
    const char* at_;
    const char* end_;
};

// The headers that are looked at.
struct Headers {
    std::string_view authorization, accept, model, request_id;
};

inline void take_once(std::string_view& field, std::string_view value) {
    if (!field.empty()) throw Cannot();  // which one counts is not for us to say
    field = value;
}

inline void take_header(Headers& headers, std::string_view name, std::string_view value) {
    switch (name.size()) {  // most names are none of these
        case 6:
            if (is_name(name, "accept")) take_once(headers.accept, value);
            if (is_name(name, "expect")) throw Cannot();
            return;
        case 7:
            if (is_name(name, "x-model")) take_once(headers.model, value);
            if (is_name(name, "upgrade")) throw Cannot();
            return;
        case 10:
            if (is_name(name, "connection") && !is_name(value, "keep-alive")) throw Cannot();
            return;
        case 12:
            if (is_name(name, "x-request-id")) take_once(headers.request_id, value);
            return;
        case 13:
            if (is_name(name, "authorization")) take_once(headers.authorization, value);
            return;
        case 14:
            if (is_name(name, "content-length")) throw Cannot();
            return;
        case 16:
            if (is_name(name, "proxy-connection")) throw Cannot();
            return;
        case 17:
            if (is_name(name, "transfer-encoding")) throw Cannot();
            return;
        default: return;
    }
}

// Headers up to the end of the head, after which there must be nothing.
inline Headers read_headers(Scanner& in) {
    Headers headers;
    while (!in.take("\r\n")) {
        const std::string_view name = in.take_while(is_token);
        if (name.empty() || !in.take(":")) throw Cannot();
        in.take_while([](char each) { return each == ' '; });
        const std::string_view value = in.take_while([](char each) { return each >= ' ' && each < 0x7f; });
        if (value.empty() || value.back() == ' ' || !in.take("\r\n")) throw Cannot();
        take_header(headers, name, value);
    }
    if (!in.is_done()) throw Cannot();
    return headers;
}

inline void read_query(Scanner& in, std::vector<Parameter>& all) {
    const auto is_of_name = [](char each) { return is_plain(each) && each != '=' && each != '&'; };
    const auto is_of_value = [](char each) { return is_plain(each) && each != '&'; };
    do {
        Parameter each{in.take_while(is_of_name), {}};
        if (in.next() == '=') {
            in.skip();
            each.value = in.take_while(is_of_value);
        }
        if (each.name.empty() || all.size() == MOST_PARAMETERS) throw Cannot();
        all.push_back(each);
    } while (in.take("&"));
}

// What commas separate in a value.
inline std::vector<std::string_view> words_of(std::string_view value) {
    std::vector<std::string_view> words;
    words.reserve(1 + static_cast<size_t>(std::count(value.begin(), value.end(), ',')));
    for (size_t at = 0;;) {
        const size_t comma = value.find(',', at);
        words.push_back(value.substr(at, comma - at));
        if (comma == std::string_view::npos) return words;
        at = comma + 1;
    }
}

// Reads a head; throws Cannot if it is of any other than the usual form, or not the whole of what has come.
inline void read_head(std::string_view data, Head& head) {
    if (data.size() > MOST_HEAD) throw Cannot();
    Scanner in(data);
    if (!in.take("GET /")) throw Cannot();
    const std::string_view path = in.take_while([](char each) { return is_plain(each) && each != '?'; });
    std::vector<Parameter> parameters;
    if (!in.take("?")) throw Cannot();
    read_query(in, parameters);
    if (!in.take(" HTTP/1.1\r\n")) throw Cannot();
    const Headers headers = read_headers(in);
    if (headers.request_id.size() > LONGEST_REQUEST_ID) throw Cannot();
    head.request_id = headers.request_id;
    std::string& key = head.key;
    key.reserve(256);
    key += '/';
    for (const std::string_view part : {path, headers.authorization, headers.accept, headers.model}) {
        key += part;
        key += FIELD_END;
    }
    for (const Parameter& each : parameters) {
        key += each.name;
        if (each.name == "features" || each.name == "shape") {
            key += '=';
            key += each.value;
        } else {
            head.given.push_back(each);
        }
        key += '&';
    }
}

}  // namespace store
