package featurestore;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/**
 * The events of an entity by their ids, as long as a copy may come: an event is a copy if one of its id is before it by
 * at most {@link Spec#deduplicateWithin}. As long as an event that is late can still make another one a copy, what they
 * add to their tiles is kept too, also of events without id, to make a tile anew without a copy.
 *
 * <p>Each id has a slot of its own, and pages say in the order of arrival which slots there are: so an event costs the
 * same however many there are.
 */
final class Occurrences {
    private static final long NONE = Long.MAX_VALUE;
    private static final int PAGE = 32;
    private static final long HASH = (1L << 56) - 1;
    private static final long IDS = 0x90L << 56;
    private static final long PAGES = 0xA0L << 56;

    private final Spec spec;
    private final KernelState state;
    private final ValueType[] types;
    private final int passCount;
    /** The newest page. */
    private final Page page;
    /** Pages from this one on have events that may still become copies; those before, from the next, only ids. */
    private long firstOpen;
    private long firstKept;
    private long nextPage;
    /** The greatest steps of these two pages; NONE if there is no such page. */
    private long openUntil = NONE;
    private long keptUntil = NONE;
    private long newest = Long.MIN_VALUE;
    /** Makes slots for events without id. */
    private long unidentified;

    /** Steps and slots of some events. */
    private record Page(List<Long> steps, List<Long> slots) {
        Page() {
            this(new ArrayList<>(), new ArrayList<>());
        }

        long last() {
            return steps.stream().mapToLong(Long::longValue).max().orElse(Long.MIN_VALUE);
        }

        void write(ByteWriter out) {
            out.unsigned(steps.size());
            long before = 0;
            for (int i = 0; i < steps.size(); i++) {
                out.signed(steps.get(i) - before);
                before = steps.get(i);
                out.unsigned(slots.get(i) & HASH);
            }
        }

        static Page read(ByteReader in) {
            Page page = new Page();
            long step = 0;
            for (long left = in.unsigned(); left > 0; left--) {
                step += in.signed();
                page.steps.add(step);
                page.slots.add(IDS | in.unsigned());
            }
            return page;
        }
    }

    /** Whether an event counts, and the one that does not count any more because of it; null if there is none. */
    record Change(boolean counts, Occurrence replaced) {}

    Occurrences(Spec spec, KernelState state) {
        this(spec, state, new Page());
    }

    private Occurrences(Spec spec, KernelState state, Page page) {
        this.spec = spec;
        this.state = state;
        this.page = page;
        types = spec.valueTypes();
        passCount = spec.passCount();
    }

    boolean isEmpty() {
        return firstKept == nextPage && page.steps.isEmpty();
    }

    /** Whether there are events that may still become copies. */
    boolean isOpen() {
        return firstOpen < nextPage || !page.steps.isEmpty();
    }

    /** The step of the newest event there was. */
    long newest() {
        return newest;
    }

    Change add(Text id, long at, Occurrence.Inputs inputs) throws Exception {
        long slot = slotOf(id);
        List<Occurrence> all = load(slot);
        Occurrence event = new Occurrence(id, at, true, inputs);
        Occurrence before = null;
        Occurrence after = null;
        for (Occurrence other : all) {
            if (id == null || !id.equals(other.id())) {
                continue;
            }
            if (event.isLike(other)) {
                return new Change(false, null);
            }
            if (other.isBefore(event)) {
                before = before == null || before.isBefore(other) ? other : before;
            } else {
                after = after == null || other.isBefore(after) ? other : after;
            }
        }
        boolean counts = before == null || at - before.at() > spec.deduplicateWithin;
        boolean replaces = after != null && after.counts() && after.at() - at <= spec.deduplicateWithin;
        if (replaces) {
            all.set(all.indexOf(after), after.asCopy());
        }
        all.add(counts ? event : event.asCopy());
        store(slot, all);
        long step = spec.stepOf(at);
        newest = Math.max(newest, step);
        page.steps.add(step);
        page.slots.add(slot);
        if (page.steps.size() >= PAGE) {
            seal();
        }
        return new Change(counts, replaces ? after : null);
    }

    /** The events of a tile that count; none of them may be settled. */
    List<Occurrence> counted(long step) throws Exception {
        Set<Long> slots = new HashSet<>();
        for (long number = firstOpen; number < nextPage; number++) {
            addSlots(read(number), step, slots);
        }
        addSlots(page, step, slots);
        List<Occurrence> found = new ArrayList<>();
        for (long slot : slots) {
            for (Occurrence each : load(slot)) {
                if (each.counts() && spec.stepOf(each.at()) == step) {
                    found.add(each);
                }
            }
        }
        return found;
    }

    /** Settles the events up to the step `late`, before which no more will come, and forgets what is beyond copies. */
    void expire(long late) throws Exception {
        if (!page.steps.isEmpty() && page.last() <= late) {
            seal();
        }
        while (openUntil <= late) {
            for (long slot : read(firstOpen).slots) {
                settle(slot, late);
            }
            keptUntil = keptUntil == NONE ? openUntil : keptUntil;
            firstOpen++;
            openUntil = firstOpen < nextPage ? read(firstOpen).last() : NONE;
        }
        long forgotten = Math.floorDiv(late * spec.slide - spec.deduplicateWithin, spec.slide) - 1;
        while (keptUntil <= forgotten && firstKept < firstOpen) {
            for (long slot : read(firstKept).slots) {
                List<Occurrence> all = load(slot);
                all.removeIf(each -> each.inputs() == null && spec.stepOf(each.at()) <= forgotten);
                store(slot, all);
            }
            state.remove(PAGES | firstKept);
            firstKept++;
            keptUntil = firstKept < firstOpen ? read(firstKept).last() : NONE;
        }
    }

    void write(ByteWriter out) {
        out.flag(isEmpty());
        if (isEmpty()) {
            return;
        }
        out.unsigned(firstKept);
        out.unsigned(firstOpen - firstKept);
        out.unsigned(nextPage - firstOpen);
        out.signed(openUntil);
        out.signed(keptUntil);
        out.signed(newest);
        out.unsigned(unidentified);
        page.write(out);
    }

    static Occurrences read(ByteReader in, Spec spec, KernelState state) {
        if (in.flag()) {
            return new Occurrences(spec, state);
        }
        long firstKept = in.unsigned();
        long firstOpen = firstKept + in.unsigned();
        long nextPage = firstOpen + in.unsigned();
        long openUntil = in.signed();
        long keptUntil = in.signed();
        long newest = in.signed();
        long unidentified = in.unsigned();
        Occurrences found = new Occurrences(spec, state, Page.read(in));
        found.firstKept = firstKept;
        found.firstOpen = firstOpen;
        found.nextPage = nextPage;
        found.openUntil = openUntil;
        found.keptUntil = keptUntil;
        found.newest = newest;
        found.unidentified = unidentified;
        return found;
    }

    private void seal() throws Exception {
        ByteWriter out = new ByteWriter();
        page.write(out);
        state.put(PAGES | nextPage, out.toBytes());
        openUntil = firstOpen == nextPage ? page.last() : openUntil;
        nextPage++;
        page.steps.clear();
        page.slots.clear();
    }

    /** Leaves of the events of a slot up to a step the latest time of each id. */
    private void settle(long slot, long late) throws Exception {
        List<Occurrence> kept = new ArrayList<>();
        for (Occurrence each : load(slot)) {
            if (spec.stepOf(each.at()) > late) {
                kept.add(each);
            } else if (each.id() != null) {
                boolean covered = kept.removeIf(
                        other -> other.inputs() == null && each.id().equals(other.id()) && other.at() <= each.at());
                boolean older = !covered && kept.stream()
                        .anyMatch(other -> other.inputs() == null && each.id().equals(other.id()));
                if (!older) {
                    kept.add(each.settled());
                }
            }
        }
        store(slot, kept);
    }

    private static void addSlots(Page page, long step, Set<Long> slots) {
        for (int i = 0; i < page.steps.size(); i++) {
            if (page.steps.get(i) == step) {
                slots.add(page.slots.get(i));
            }
        }
    }

    private long slotOf(Text id) {
        long hash = 0xCBF29CE484222325L;
        if (id == null) {
            hash = ++unidentified * 0x9E3779B97F4A7C15L;
        } else {
            for (byte each : id.bytes()) {
                hash = (hash ^ each & 0xFF) * 0x100000001B3L;
            }
        }
        return IDS | (hash ^ hash >>> 29) & HASH;
    }

    private Page read(long number) throws Exception {
        return Page.read(new ByteReader(state.get(PAGES | number), 0));
    }

    private List<Occurrence> load(long slot) throws Exception {
        byte[] bytes = state.get(slot);
        List<Occurrence> found = new ArrayList<>();
        if (bytes != null) {
            ByteReader in = new ByteReader(bytes, 0);
            for (long left = in.unsigned(); left > 0; left--) {
                found.add(Occurrence.read(in, types, passCount));
            }
        }
        return found;
    }

    private void store(long slot, List<Occurrence> all) throws Exception {
        if (all.isEmpty()) {
            state.remove(slot);
            return;
        }
        ByteWriter out = new ByteWriter();
        out.unsigned(all.size());
        for (Occurrence each : all) {
            each.write(out, types);
        }
        state.put(slot, out.toBytes());
    }
}
