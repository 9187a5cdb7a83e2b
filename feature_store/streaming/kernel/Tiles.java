package featurestore;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;
import java.util.function.LongSupplier;

/**
 * The tiles of an entity, in chunks in the order of their steps. The newest chunk is the tail, which lies in the head.
 *
 * <p>A tile that grows with its events lies in pieces. An event goes into the newest piece. What was sealed of a tile
 * is united with what was sealed before it and is not larger, so that its chunks are few and each is larger than the
 * next.
 */
final class Tiles {
    /** When the tail has this many tiles or bytes, its older part is sealed. */
    private static final int TAIL_TILES = 96;
    private static final int TAIL_BYTES = 16_384;
    private static final int SEALED_TILES = 64;
    /** A sealed chunk gets no more than this many bytes, except by one tile. */
    private static final int SEALED_BYTES = 2 * TAIL_BYTES;
    /** A piece of a tile that has this many bytes gets no more events. */
    private static final int PIECE_BYTES = 4096;

    private final Spec spec;
    private final KernelState state;
    private final LongSupplier slots;
    /** The oldest first; the tail, always there, is the last. */
    private final List<Chunk> chunks = new ArrayList<>();

    /** None yet; `slots` gives numbers of slots that nothing lies in. */
    Tiles(Spec spec, KernelState state, LongSupplier slots) {
        this.spec = spec;
        this.state = state;
        this.slots = slots;
        chunks.add(Chunk.tail(spec, state, new Block()));
    }

    List<Chunk> chunks() {
        return chunks;
    }

    boolean isEmpty() {
        return chunks.size() == 1 && tail().isEmpty();
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

    /** Adds an event to the tile of its step: rows of some windows, which `rows` adds to a cell. */
    void add(long step, long mask, Consumer<Cell> rows) throws Exception {
        Chunk chunk = chunkOf(step);
        Block tiles = chunk.tiles();
        int piece = tiles.indexOf(step);
        Cell cell = new Cell(spec);
        if (piece >= 0 && tiles.weight(piece) < PIECE_BYTES) {
            tiles.load(piece, cell, spec);
            rows.accept(cell);
            chunk.set(piece, mask | tiles.mask(piece), cell);
        } else {
            if (spec.hasSessions) {
                continueTimes(cell, step, chunk);
            }
            rows.accept(cell);
            chunk.add(step, mask, cell);
        }
        tidy(chunk);
    }

    /** Takes a tile out, and puts another one in its place unless that is null. */
    void replace(long step, long mask, Cell tile) throws Exception {
        for (Chunk chunk : List.copyOf(chunks)) {
            if (chunk.first <= step && step <= chunk.last) {
                chunk.remove(step);
                if (chunk.isEmpty() && !chunk.isTail()) {
                    chunks.remove(chunk);
                    state.remove(chunk.slot);
                }
            }
        }
        if (tile != null) {
            Chunk chunk = chunkOf(step);
            chunk.add(step, mask, tile);
            tidy(chunk);
        }
    }

    /** The chunk for the next piece of the tile of a step: nothing of a step comes behind it. */
    private Chunk chunkOf(long step) {
        int place = chunks.size() - 1;
        while (place > 0 && chunks.get(place - 1).last > step) {
            place--;
        }
        Chunk found = chunks.get(place);
        if (found.isTail() || found.weight <= SEALED_BYTES || found.first <= step) {
            return found;
        }
        if (place > 0 && chunks.get(place - 1).last == step && chunks.get(place - 1).weight <= SEALED_BYTES) {
            return chunks.get(place - 1);
        }
        Chunk between = Chunk.sealed(spec, state, slots.getAsLong(), new Block());
        chunks.add(place, between);
        return between;
    }

    /** Gives a new piece the times of the one before it, if there is one. */
    private void continueTimes(Cell piece, long step, Chunk chunk) throws Exception {
        for (int place = chunks.indexOf(chunk); place >= 0; place--) {
            Chunk each = chunks.get(place);
            int before = each.first <= step && step <= each.last ? each.tiles().indexOf(step) : -1;
            if (before >= 0) {
                Cell cell = new Cell(spec);
                each.tiles().load(before, cell, spec);
                piece.continueTimes(cell);
                return;
            }
        }
    }

    /** Seals what has become too much for the head, and divides a chunk that late events have filled. */
    private void tidy(Chunk changed) throws Exception {
        int size = changed.tiles().size();
        if (size > (changed.isTail() ? TAIL_TILES : 2 * SEALED_TILES)) {
            seal(changed, SEALED_TILES);
        } else if (size > 1 && changed.weight > (changed.isTail() ? TAIL_BYTES : SEALED_BYTES)) {
            seal(changed, (size + 1) / 2);
        }
    }

    /** Drops the tiles up to a step; the base keeps what features without an end need of them. */
    void expire(long horizon, Base base) throws Exception {
        List<Block> tiles = new ArrayList<>();
        for (int left = expired(horizon); left > 0; left--) {
            Chunk oldest = chunks.remove(0);
            if (spec.hasSessions) {
                tiles.add(oldest.tiles());
            } else if (spec.hasAllTime) {
                base.fold(oldest.summary(), oldest.mask);
            }
            state.remove(oldest.slot);
        }
        if (chunks.size() == 1 && tail().first <= horizon) {
            tiles.add(tail().takeFirst(tail().tiles().indexAfter(horizon)));
        }
        if (spec.hasAllTime || spec.hasSessions) {
            fold(tiles, base);
        }
    }

    /** How many sealed chunks have no tiles after a step; the pieces of a tile stay together. */
    private int expired(long horizon) {
        int count = 0;
        while (count < chunks.size() - 1 && chunks.get(count).last <= horizon) {
            count++;
        }
        while (count > 0 && count < chunks.size() - 1 && chunks.get(count - 1).last == chunks.get(count).first) {
            count--;
        }
        return count;
    }

    /** Adds tiles to the base, each as a whole. */
    private void fold(List<Block> blocks, Base base) throws Exception {
        Cell tile = new Cell(spec);
        Cell piece = new Cell(spec);
        long step = Long.MIN_VALUE;
        long mask = 0;
        for (Block tiles : blocks) {
            for (int i = 0; i < tiles.size(); i++) {
                if (mask != 0 && tiles.step(i) != step) {
                    base.fold(tile, mask);
                    tile = new Cell(spec);
                    mask = 0;
                }
                tiles.load(i, piece, spec);
                tile.append(piece);
                step = tiles.step(i);
                mask |= tiles.mask(i);
            }
        }
        if (mask != 0) {
            base.fold(tile, mask);
        }
    }

    private void seal(Chunk source, int count) throws Exception {
        int place = chunks.indexOf(source);
        Chunk sealed = Chunk.sealed(spec, state, slots.getAsLong(), source.takeFirst(count));
        chunks.add(place, sealed);
        while (sealed.isOneTile() && --place >= 0 && isSmallerPiece(chunks.get(place), sealed)) {
            Chunk older = chunks.remove(place);
            sealed.unite(older);
            state.remove(older.slot);
        }
    }

    private static boolean isSmallerPiece(Chunk older, Chunk newer) {
        return older.isOneTile() && older.first == newer.first && older.weight <= newer.weight;
    }

    /** Writes what has changed into its slots, and the tail and an index of the others into the head. */
    void write(ByteWriter head) throws Exception {
        head.unsigned(chunks.size() - 1);
        for (Chunk chunk : chunks) {
            if (!chunk.isTail()) {
                chunk.save();
                chunk.writeIndex(head);
            }
        }
        tail().tiles().write(head);
    }

    /** Becomes what was written; `weighed` unless in the former format. */
    void read(ByteReader head, boolean weighed) {
        chunks.clear();
        for (long left = head.unsigned(); left > 0; left--) {
            chunks.add(Chunk.stored(spec, state, head, weighed));
        }
        chunks.add(Chunk.tail(spec, state, Block.read(head)));
    }

    private Chunk tail() {
        return chunks.get(chunks.size() - 1);
    }
}
