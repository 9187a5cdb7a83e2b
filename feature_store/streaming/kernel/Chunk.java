package featurestore;

/**
 * Tiles of an entity that are kept together: a sealed one in a slot of its own, with a summary of all of them so that a
 * long window does not decode its tiles, or the tail, which is part of the entity's head. What lies in a slot is read
 * when it is first needed.
 */
final class Chunk {
    static final long TAIL = -1;

    private final Spec spec;
    private final KernelState state;
    final long slot;
    long first;
    long last;
    /** Which windows saw a tile of the chunk. */
    long mask;
    private Block tiles;
    private Cell summary;
    private ByteReader stored;
    private boolean changed;

    private Chunk(Spec spec, KernelState state, long slot, Block tiles) {
        this.spec = spec;
        this.state = state;
        this.slot = slot;
        this.tiles = tiles;
    }

    static Chunk tail(Spec spec, KernelState state, Block tiles) {
        Chunk chunk = new Chunk(spec, state, TAIL, tiles);
        chunk.describe();
        return chunk;
    }

    /** A new one for a slot that nothing lies in. */
    static Chunk sealed(Spec spec, KernelState state, long slot, Block tiles) {
        Chunk chunk = new Chunk(spec, state, slot, tiles);
        chunk.describe();
        chunk.changed = true;
        return chunk;
    }

    /** One that was saved. */
    static Chunk stored(Spec spec, KernelState state, ByteReader in) {
        Chunk chunk = new Chunk(spec, state, in.unsigned(), null);
        chunk.first = in.signed();
        chunk.last = chunk.first + in.unsigned();
        chunk.mask = in.unsigned();
        return chunk;
    }

    void writeIndex(ByteWriter out) {
        out.unsigned(slot);
        out.signed(first);
        out.unsigned(last - first);
        out.unsigned(mask);
    }

    boolean isTail() {
        return slot == TAIL;
    }

    boolean isEmpty() {
        return tiles != null && tiles.size() == 0;
    }

    Block tiles() throws Exception {
        if (tiles == null) {
            open();
            stored.seek(0);
            int length = (int) stored.unsigned();
            stored.seek(stored.position() + length);
            tiles = Block.read(stored);
        }
        return tiles;
    }

    /** All tiles in one; only a sealed chunk that was not changed since it was saved has it at hand. */
    Cell summary() throws Exception {
        if (summary == null) {
            summary = new Cell(spec);
            if (tiles == null || !changed && !isTail()) {
                open();
                stored.seek(0);
                stored.unsigned();
                summary.read(stored, 0);
            } else {
                Cell tile = new Cell(spec);
                for (int i = 0; i < tiles.size(); i++) {
                    tiles.load(i, tile, spec);
                    summary.append(tile);
                }
            }
        }
        return summary;
    }

    void set(long step, long tileMask, Cell cell) throws Exception {
        tiles().set(step, tileMask, cell, spec);
        modified();
    }

    void remove(long step) throws Exception {
        tiles().remove(tiles().indexOf(step));
        modified();
    }

    Block takeFirst(int count) throws Exception {
        Block taken = tiles().takeFirst(count);
        modified();
        return taken;
    }

    void save() throws Exception {
        if (changed && !isTail()) {
            ByteWriter described = new ByteWriter();
            summary().write(described, 0);
            ByteWriter out = new ByteWriter();
            out.section(described);
            tiles.write(out);
            state.put(slot, out.toBytes());
            changed = false;
        }
    }

    private void modified() {
        changed = true;
        summary = null;
        describe();
    }

    private void describe() {
        mask = 0;
        for (int i = 0; i < tiles.size(); i++) {
            mask |= tiles.mask(i);
        }
        first = tiles.size() > 0 ? tiles.step(0) : Long.MAX_VALUE;
        last = tiles.size() > 0 ? tiles.step(tiles.size() - 1) : Long.MIN_VALUE;
    }

    private void open() throws Exception {
        if (stored == null) {
            stored = new ByteReader(state.get(slot), 0);
        }
    }
}
