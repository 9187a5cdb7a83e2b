package featurestore;

import java.util.function.LongSupplier;

/**
 * What the kernel knows of one entity. The head, in one slot, holds counters, the base, the newest events' ids, the
 * newest tiles, and an index of the older ones, which lie in slots of their own: an event reads and writes the head
 * alone as a rule.
 */
final class Entity {
    static final long NO_TIMER = Long.MAX_VALUE;

    private static final int FORMAT = 2;
    /** The format before events were kept by their ids. */
    private static final int FORMER_FORMAT = 1;
    private static final long HEAD = Long.MIN_VALUE;

    private final Spec spec;
    private final KernelState state;
    final boolean isNew;
    /** Created timestamp of the last row. */
    private long created = Long.MIN_VALUE;
    /** Points up to this step have been emitted, or need not be. */
    long emitted = Long.MIN_VALUE;
    /** Step of the earliest timer that was asked for. */
    long timer = NO_TIMER;
    private long nextSlot;
    private final Base base;
    private Occurrences occurrences;
    private final Tiles tiles;

    private Entity(Spec spec, KernelState state, byte[] head) {
        this.spec = spec;
        this.state = state;
        isNew = head == null;
        LongSupplier slots = () -> nextSlot++;
        base = new Base(spec, state, slots);
        tiles = new Tiles(spec, state, slots);
        if (isNew) {
            occurrences = new Occurrences(spec, state);
        } else {
            read(new ByteReader(head, 0));
        }
    }

    static Entity load(Spec spec, KernelState state) throws Exception {
        return new Entity(spec, state, state.get(HEAD));
    }

    void save() throws Exception {
        if (base.isEmpty() && occurrences.isEmpty() && tiles.isEmpty()) {
            if (!isNew) {
                state.remove(HEAD);
            }
            return;
        }
        ByteWriter written = new ByteWriter();
        base.write(written); // which may take slots
        ByteWriter out = new ByteWriter();
        out.octet(FORMAT);
        out.signed(created);
        out.signed(emitted);
        out.signed(timer);
        out.unsigned(nextSlot);
        out.raw(written.data(), 0, written.size());
        occurrences.write(out);
        tiles.write(out);
        state.put(HEAD, out.toBytes());
    }

    Tiles tiles() {
        return tiles;
    }

    Base base() {
        return base;
    }

    Occurrences occurrences() {
        return occurrences;
    }

    /** A created timestamp after all before it. */
    long nextCreated(long clock) {
        created = Math.max(clock, created == Long.MIN_VALUE ? clock : created + 1);
        return created;
    }

    void registerTimer(long step) {
        timer = step;
        state.registerTimer(step * spec.slide);
    }

    /** Ids of the former format are of no use without the events' times, so there may be none. */
    private Occurrences formerIds(ByteReader in) {
        if (in.flag() || in.unsigned() > 0) {
            throw new IllegalStateException("the state has event ids of the format " + FORMER_FORMAT
                    + ", without their times: begin the group's job anew, by a new version of the group");
        }
        return new Occurrences(spec, state);
    }

    private void read(ByteReader in) {
        int format = in.octet();
        if (format != FORMAT && format != FORMER_FORMAT) {
            throw new IllegalStateException(
                    "the kernel reads state of the formats " + FORMER_FORMAT + " and " + FORMAT + ", not " + format);
        }
        created = in.signed();
        emitted = in.signed();
        timer = in.signed();
        nextSlot = in.unsigned();
        base.read(in, format == FORMAT);
        occurrences = format == FORMAT ? Occurrences.read(in, spec, state) : formerIds(in);
        tiles.read(in, format == FORMAT);
    }
}
