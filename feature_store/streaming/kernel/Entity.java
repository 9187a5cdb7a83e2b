package featurestore;

import java.util.ArrayList;
import java.util.List;

/**
 * What the kernel knows of one entity. The head, in one slot, holds counters, the base, the newest events' ids, the newest tiles,
 * and an index of the older ones, which lie in slots of their own: an event reads and writes the head alone as a
 * rule.
 */
final class Entity {
    static final long NO_TIMER = Long.MAX_VALUE;

    private static final int FORMAT = 2;
    /** The format before events were kept by their ids. */
    private static final int FORMER_FORMAT = 1;
    private static final long HEAD = Long.MIN_VALUE;
    /** When the tail has this many tiles or bytes, its older part is sealed. */
    private static final int TAIL_TILES = 96;
    private static final int TAIL_BYTES = 16_384;
    private static final int SEALED_TILES = 64;

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
    private Base base;
    private Occurrences occurrences;
    /** The oldest first; the tail, always there, is the last. */
    private final List<Chunk> chunks = new ArrayList<>();

    private Entity(Spec spec, KernelState state, byte[] head) {
        this.spec = spec;
        this.state = state;
        isNew = head == null;
        if (isNew) {
            base = new Base(spec);
            occurrences = new Occurrences(spec, state);
            chunks.add(Chunk.tail(spec, state, new Block()));
        } else {
            read(new ByteReader(head, 0));
        }
    }

    static Entity load(Spec spec, KernelState state) throws Exception {
        return new Entity(spec, state, state.get(HEAD));
    }

    void save() throws Exception {
        if (base.isEmpty() && occurrences.isEmpty() && chunks.size() == 1 && tail().isEmpty()) {
            if (!isNew) {
                state.remove(HEAD);
            }
            return;
        }
        for (Chunk chunk : chunks) {
            chunk.save();
        }
        ByteWriter out = new ByteWriter();
        out.octet(FORMAT);
        out.signed(created);
        out.signed(emitted);
        out.signed(timer);
        out.unsigned(nextSlot);
        base.write(out);
        occurrences.write(out);
        out.unsigned(chunks.size() - 1);
        for (Chunk chunk : chunks) {
            if (!chunk.isTail()) {
                chunk.writeIndex(out);
            }
        }
        tail().tiles().write(out);
        state.put(HEAD, out.toBytes());
    }

    List<Chunk> chunks() {
        return chunks;
    }

    Base base() {
        return base;
    }

    Occurrences occurrences() {
        return occurrences;
    }

    boolean hasTiles() {
        return chunks.size() > 1 || !tail().isEmpty();
    }

    /** Step of the newest tile; Long.MIN_VALUE without one. */
    long lastStep() {
        long last = Long.MIN_VALUE;
        for (Chunk chunk : chunks) {
            last = Math.max(last, chunk.last);
        }
        return last;
    }

    /** Step of the oldest tile; Long.MAX_VALUE without one. */
    long firstStep() {
        return chunks.get(0).first;
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

    /** The chunk that has the tile of a step, or would have it. */
    Chunk chunkOf(long step) {
        for (int i = chunks.size() - 2; i >= 0; i--) {
            if (step > chunks.get(i).last) {
                return chunks.get(i + 1);
            }
        }
        return chunks.get(0);
    }

    /** Takes a tile out. */
    void removeTile(long step) throws Exception {
        Chunk chunk = chunkOf(step);
        chunk.remove(step);
        if (chunk.isEmpty() && !chunk.isTail()) {
            chunks.remove(chunk);
            state.remove(chunk.slot);
        }
    }

    /** Seals what has become too much for the head, and divides a chunk that late events have filled. */
    void tidy(Chunk changed) throws Exception {
        Block tiles = changed.tiles();
        if (changed.isTail()) {
            if (tiles.size() > TAIL_TILES) {
                seal(changed, SEALED_TILES);
            } else if (tiles.size() > 1 && tiles.weight() > TAIL_BYTES) {
                seal(changed, (tiles.size() + 1) / 2);
            }
        } else if (tiles.size() > 2 * SEALED_TILES) {
            seal(changed, SEALED_TILES);
        }
    }

    /** Drops the tiles up to a step; the base keeps what features without an end need of them. */
    void expire(long horizon) throws Exception {
        boolean folds = spec.hasAllTime || spec.hasSessions;
        while (chunks.size() > 1 && chunks.get(0).last <= horizon) {
            Chunk oldest = chunks.remove(0);
            if (spec.hasSessions) {
                fold(oldest.tiles(), oldest.tiles().size());
            } else if (folds) {
                base.fold(oldest.summary(), oldest.mask);
            }
            state.remove(oldest.slot);
        }
        if (chunks.size() == 1 && tail().first <= horizon) {
            int count = tail().tiles().indexAfter(horizon);
            Block gone = tail().takeFirst(count);
            if (folds) {
                fold(gone, count);
            }
        }
    }

    private void fold(Block tiles, int count) {
        Cell tile = new Cell(spec);
        for (int i = 0; i < count; i++) {
            tiles.load(i, tile, spec);
            base.fold(tile, tiles.mask(i));
        }
    }

    private void seal(Chunk source, int count) throws Exception {
        Chunk older = Chunk.sealed(spec, state, nextSlot++, source.takeFirst(count));
        chunks.add(chunks.indexOf(source), older);
    }

    /** Ids of the former format are of no use without the events' times, so there may be none. */
    private Occurrences formerIds(ByteReader in) {
        if (in.flag() || in.unsigned() > 0) {
            throw new IllegalStateException("the state has event ids of the format " + FORMER_FORMAT
                    + ", without their times: begin the group's job anew, by a new version of the group");
        }
        return new Occurrences(spec, state);
    }

    private Chunk tail() {
        return chunks.get(chunks.size() - 1);
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
        base = Base.read(in, spec);
        occurrences = format == FORMAT ? Occurrences.read(in, spec, state) : formerIds(in);
        for (long left = in.unsigned(); left > 0; left--) {
            chunks.add(Chunk.stored(spec, state, in));
        }
        chunks.add(Chunk.tail(spec, state, Block.read(in)));
    }
}
