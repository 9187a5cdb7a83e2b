package featurestore;

import java.util.ArrayList;
import java.util.List;

/**
 * Ids of the events that were counted, as long as a copy could still arrive. A few are kept in the entity's head; when
 * they become many they move to slots by their hash, so that an event does not rewrite all of them.
 */
final class IdSet {
    private static final int INLINE = 32;
    private static final int SLOTS = 16;
    private static final long FIRST_SLOT = Long.MIN_VALUE + 1;

    private List<Entry> inline = new ArrayList<>();
    /** The latest step of an id in the slots; Long.MIN_VALUE if the slots are empty. */
    private long slotsUntil = Long.MIN_VALUE;

    private record Entry(long step, Text id) {}

    boolean isEmpty() {
        return inline.isEmpty() && slotsUntil == Long.MIN_VALUE;
    }

    /** Whether an event of this id counted; ids of tiles up to the step `expired` are forgotten. */
    boolean contains(Text id, long expired, KernelState state) throws Exception {
        if (holds(inline, id, expired)) {
            return true;
        }
        return slotsUntil > expired && holds(entries(state, slotOf(id)), id, expired);
    }

    void add(Text id, long step, long expired, KernelState state) throws Exception {
        expire(expired, state);
        inline.add(new Entry(step, id));
        if (inline.size() > INLINE) {
            spill(expired, state);
        }
    }

    void expire(long expired, KernelState state) throws Exception {
        inline.removeIf(entry -> entry.step <= expired);
        if (slotsUntil != Long.MIN_VALUE && slotsUntil <= expired) {
            for (int i = 0; i < SLOTS; i++) {
                state.remove(FIRST_SLOT + i);
            }
            slotsUntil = Long.MIN_VALUE;
        }
    }

    void write(ByteWriter out) {
        out.flag(slotsUntil != Long.MIN_VALUE);
        if (slotsUntil != Long.MIN_VALUE) {
            out.signed(slotsUntil);
        }
        write(inline, out);
    }

    static IdSet read(ByteReader in) {
        IdSet ids = new IdSet();
        ids.slotsUntil = in.flag() ? in.signed() : Long.MIN_VALUE;
        ids.inline = entries(in);
        return ids;
    }

    private void spill(long expired, KernelState state) throws Exception {
        List<List<Entry>> moved = new ArrayList<>();
        for (int i = 0; i < SLOTS; i++) {
            moved.add(new ArrayList<>());
        }
        for (Entry entry : inline) {
            moved.get((int) (slotOf(entry.id) - FIRST_SLOT)).add(entry);
            slotsUntil = Math.max(slotsUntil, entry.step);
        }
        inline.clear();
        for (int i = 0; i < SLOTS; i++) {
            if (!moved.get(i).isEmpty()) {
                List<Entry> kept = entries(state, FIRST_SLOT + i);
                kept.removeIf(entry -> entry.step <= expired);
                kept.addAll(moved.get(i));
                ByteWriter out = new ByteWriter();
                write(kept, out);
                state.put(FIRST_SLOT + i, out.toBytes());
            }
        }
    }

    private static long slotOf(Text id) {
        return FIRST_SLOT + Math.floorMod(id.hashCode() * 0x9E3779B9 >>> 8, SLOTS);
    }

    private static boolean holds(List<Entry> entries, Text id, long expired) {
        for (Entry entry : entries) {
            if (entry.step > expired && entry.id.equals(id)) {
                return true;
            }
        }
        return false;
    }

    private static List<Entry> entries(KernelState state, long slot) throws Exception {
        byte[] bytes = state.get(slot);
        return bytes == null ? new ArrayList<>() : entries(new ByteReader(bytes, 0));
    }

    private static List<Entry> entries(ByteReader in) {
        int size = (int) in.unsigned();
        List<Entry> found = new ArrayList<>(size + 1);
        long previous = 0;
        for (int i = 0; i < size; i++) {
            previous += in.signed();
            found.add(new Entry(previous, new Text(in.raw((int) in.unsigned()))));
        }
        return found;
    }

    private static void write(List<Entry> entries, ByteWriter out) {
        out.unsigned(entries.size());
        long previous = 0;
        for (Entry entry : entries) {
            out.signed(entry.step - previous);
            previous = entry.step;
            out.unsigned(entry.id.bytes().length);
            out.raw(entry.id.bytes(), 0, entry.id.bytes().length);
        }
    }
}
