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
    /** Bytes of its tiles; 0 in an index of the former format, which does not say it. */
    int weight;
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
    static Chunk stored(Spec spec, KernelState state, ByteReader in, boolean weighed) {
        Chunk chunk = new Chunk(spec, state, in.unsigned(), null);
        chunk.first = in.signed();
        chunk.last = chunk.first + in.unsigned();
        chunk.mask = in.unsigned();
        chunk.weight = weighed ? (int) in.unsigned() : 0;
        return chunk;
    }

    void writeIndex(ByteWriter out) {
        out.unsigned(slot);
        out.signed(first);
        out.unsigned(last - first);
        out.unsigned(mask);
        out.unsigned(weight);
    }

    boolean isTail() {
        return slot == TAIL;
    }

    boolean isEmpty() {
        return tiles != null && tiles.size() == 0;
    }

    /** Whether it holds one tile, or pieces of one. */
    boolean isOneTile() {
        return first == last;
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

    /** All tiles in one; only a sealed chunk that was not changed since it was saved has it at hand, or one tile. */
    Cell summary() throws Exception {
        if (summary == null) {
            summary = new Cell(spec);
            if (tiles == null || !changed && !isTail()) {
                open();
                stored.seek(0);
                if (stored.unsigned() > 0) {
                    summary.read(stored, 0);
                } else {
                    tiles().load(0, summary, spec);
                }
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

    /** Adds a tile, or another piece of one. */
    void add(long step, long tileMask, Cell cell) throws Exception {
        tiles().add(step, tileMask, cell, spec);
        modified();
    }

    /** Puts a tile, or a piece, in the place of the one of an index. */
    void set(int index, long tileMask, Cell cell) throws Exception {
        tiles().set(index, tileMask, cell, spec);
        modified();
    }

    /** Takes a tile out, all its pieces. */
    void remove(long step) throws Exception {
        for (int index = tiles().indexOf(step); index >= 0; index = tiles().indexOf(step)) {
            tiles().remove(index);
        }
        modified();
    }

    /** Takes in the pieces of an older chunk of the same tile: all become one. */
    void unite(Chunk older) throws Exception {
        Cell tile = new Cell(spec);
        tile.append(older.summary());
        tile.append(summary());
        Block united = new Block();
        united.add(first, mask | older.mask, tile, spec);
        tiles = united;
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
            if (tiles.size() > 1) {
                summary().write(described, 0);
            }
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
        weight = tiles.weight();
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
