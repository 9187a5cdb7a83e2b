// The commands that read the entities of some rows from a cluster: of each node those of its slots, packed as Redis
// takes them, and where the replies belong.
#pragma once

#include <array>

#include "command.hpp"

namespace store {

constexpr size_t SLOTS = 16384;
constexpr uint16_t NOBODY = 0xffff;

inline uint16_t slot_of(std::string_view text) {
    static const std::array<uint16_t, 256> table = [] {
        std::array<uint16_t, 256> made{};
        for (unsigned i = 0; i < 256; i++) {
            unsigned crc = i << 8;
            for (int bit = 0; bit < 8; bit++) crc = crc << 1 ^ (crc & 0x8000 ? 0x1021 : 0);
            made[i] = static_cast<uint16_t>(crc);
        }
        return made;
    }();
    unsigned crc = 0;
    for (const char each : text) crc = (crc << 8 ^ table[(crc >> 8 ^ static_cast<Byte>(each)) & 0xff]) & 0xffff;
    return crc & (SLOTS - 1);
}

// The slot of any key: that of what is in its first braces, if anything is.
inline uint16_t slot_of_key(std::string_view key) {
    const size_t open = key.find('{');
    if (open == std::string_view::npos) return slot_of(key);
    const size_t close = key.find('}', open + 1);
    return slot_of(close == std::string_view::npos || close == open + 1 ? key : key.substr(open + 1, close - open - 1));
}

// The keys of a command, in its order: what they begin with, the rest, their slot.
template <class Each>
void for_each_key(const Command& command, Each each) {
    const CommandForm& form = *command.form;
    for (const std::string& key : form.first) each(key, std::string_view(), slot_of_key(key));
    std::vector<std::vector<uint16_t>> slots(command.sets.size());
    for (const KeyedGroup& group : form.groups) {
        if (group.prefix.find('{') != std::string::npos) throw Cannot();
        const Tags& tags = command.sets[group.set];
        std::vector<uint16_t>& known = slots[group.set];
        if (known.empty()) {
            known.reserve(tags.size());
            for (size_t i = 0; i < tags.size(); i++) {  // braces: no part of a tag has any, nor is a tag empty
                const std::string_view tag = tags.tag(i);
                known.push_back(slot_of(tag.substr(1, tag.size() - 2)));
            }
        }
        for (size_t i = 0; i < tags.size(); i++) each(group.prefix, tags.tag(i), known[i]);
    }
}

template <class Each>
void for_each_key(const Items& keys, Each each) {
    for (size_t i = 0; i < keys.size(); i++) {
        if (!PyUnicode_CheckExact(keys[i])) throw Cannot();
        const std::string_view key = utf8_of(keys[i]);
        each(key, std::string_view(), slot_of_key(key));
    }
}

struct SlotKeys {
    std::vector<std::pair<std::string_view, std::string_view>> keys;
    std::vector<uint32_t> places;
};

// Of each node its number, its commands, how many they are, and of each the number of its keys and their places in the
// whole; then whether somebody has every slot.
template <class Keys>
PyObject* by_node(const Keys& of, std::string_view owners) {
    if (owners.size() != 2 * SLOTS) refuse(PyExc_ValueError, "another number of slots is expected");
    // Of each slot its command, if the call is this one: to clear them each time would cost more than few keys do.
    static std::array<std::pair<uint64_t, int>, SLOTS> of_slot{};
    static uint64_t calls = 0;
    const uint64_t call = ++calls;
    std::vector<SlotKeys> commands;
    std::vector<std::pair<uint16_t, std::vector<size_t>>> nodes;
    bool is_whole = true;
    uint32_t place = 0;
    for_each_key(of, [&](std::string_view prefix, std::string_view rest, uint16_t slot) {
        const uint32_t here = place++;
        auto& [last, number] = of_slot[slot];
        if (last != call) {
            uint16_t owner;
            std::memcpy(&owner, owners.data() + 2 * slot, 2);
            if (owner == NOBODY) {
                is_whole = false;
                return;
            }
            last = call;
            number = static_cast<int>(commands.size());
            commands.emplace_back();
            size_t node = 0;
            while (node < nodes.size() && nodes[node].first != owner) node++;
            if (node == nodes.size()) nodes.push_back({owner, {}});
            nodes[node].second.push_back(number);
        }
        commands[number].keys.push_back({prefix, rest});
        commands[number].places.push_back(here);
    });
    Owned parts(checked(PyList_New(0)));
    for (const auto& [owner, numbers] : nodes) {
        Out out(64 * numbers.size() + 64);
        std::vector<uint32_t> order;
        for (const size_t number : numbers) {
            const SlotKeys& each = commands[number];
            const size_t count = each.keys.size();
            out.add('*');
            add_integer(out, static_cast<int64_t>(count + 1));
            out.add(count == 1 ? "\r\n$3\r\nGET\r\n" : "\r\n$4\r\nMGET\r\n");
            for (const auto& [prefix, rest] : each.keys) add_bulk(out, prefix, rest);
            order.push_back(static_cast<uint32_t>(count));
            order.insert(order.end(), each.places.begin(), each.places.end());
        }
        Owned packed(out.finish());
        Owned part(checked(Py_BuildValue("(iOny#)", static_cast<int>(owner), packed.get(),
                                         static_cast<Py_ssize_t>(numbers.size()),
                                         reinterpret_cast<const char*>(order.data()),
                                         static_cast<Py_ssize_t>(4 * order.size()))));
        if (PyList_Append(parts.get(), part.get()) != 0) throw Failed();
    }
    return checked(Py_BuildValue("(OO)", parts.get(), is_whole ? Py_True : Py_False));
}

// Puts the replies to the commands of a node into their places; gives the numbers of commands that were refused.
inline PyObject* put_replies(PyObject* found, PyObject* replies, std::string_view order) {
    if (!PyList_CheckExact(found)) refuse(PyExc_TypeError, "a list is expected");
    const Items given(replies);
    Owned refused(checked(PyList_New(0)));
    const auto put = [&](uint32_t place, PyObject* value) {
        if (PyList_SetItem(found, place, Owned::shared(value).release()) != 0) throw Failed();
    };
    const auto number_at = [&](size_t at) {
        uint32_t number;
        if (4 * at + 4 > order.size()) refuse(PyExc_ValueError, "too few places");
        std::memcpy(&number, order.data() + 4 * at, 4);
        return number;
    };
    size_t at = 0;
    for (size_t i = 0; i < given.size(); i++) {
        PyObject* reply = given[i];
        const uint32_t count = number_at(at++);
        if (count == 1 && (reply == Py_None || PyBytes_CheckExact(reply))) {
            put(number_at(at), reply);
        } else if (count > 1 && PyList_CheckExact(reply) && PyList_GET_SIZE(reply) == static_cast<Py_ssize_t>(count)) {
            for (uint32_t j = 0; j < count; j++) put(number_at(at + j), PyList_GET_ITEM(reply, j));
        } else {
            Owned number(checked(PyLong_FromSize_t(i)));
            if (PyList_Append(refused.get(), number.get()) != 0) throw Failed();
        }
        at += count;
    }
    return refused.release();
}

}  // namespace store
