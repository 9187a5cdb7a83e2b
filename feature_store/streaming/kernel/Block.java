package featurestore;

import java.util.Arrays;

/**
 * Tiles in the order of their steps, each still as the bytes of its {@link Cell}: only what is looked at is decoded. A
 * tile may lie in several pieces, one behind the other.
 */
final class Block {
    private int size;
    private long[] steps;
    /** Bit i of a mask: window i of the spec saw a row of the tile. */
    private long[] masks;
    private byte[][] data;
    private int[] starts;
    private int[] lengths;

    Block() {
        this(8);
    }

    private Block(int capacity) {
        steps = new long[capacity];
        masks = new long[capacity];
        data = new byte[capacity][];
        starts = new int[capacity];
        lengths = new int[capacity];
    }

    int size() {
        return size;
    }

    long step(int index) {
        return steps[index];
    }

    long mask(int index) {
        return masks[index];
    }

    /** Bytes of the tile, or piece, of an index. */
    int weight(int index) {
        return lengths[index];
    }

    /** Bytes of all tiles together. */
    int weight() {
        int sum = 0;
        for (int i = 0; i < size; i++) {
            sum += lengths[i];
        }
        return sum;
    }

    /** Decodes a tile into a cell. */
    void load(int index, Cell cell, Spec spec) {
        cell.read(new ByteReader(data[index], starts[index]), origin(steps[index], spec));
    }

    /** Index of the first tile after a step; the size if there is none. */
    int indexAfter(long step) {
        int low = 0;
        int high = size;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (steps[middle] > step) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        return low;
    }

    /** Index of the tile of a step, of its newest piece; -1 if there is none. */
    int indexOf(long step) {
        int before = indexAfter(step) - 1;
        return before >= 0 && steps[before] == step ? before : -1;
    }

    /** Adds a tile, or another piece of one, behind those of its step. */
    void add(long step, long mask, Cell cell, Spec spec) {
        int index = indexAfter(step);
        insert(index);
        steps[index] = step;
        set(index, mask, cell, spec);
    }

    /** Puts a tile, or a piece, in the place of the one of an index. */
    void set(int index, long mask, Cell cell, Spec spec) {
        ByteWriter out = new ByteWriter();
        cell.write(out, origin(steps[index], spec));
        byte[] bytes = out.toBytes();
        masks[index] = mask;
        data[index] = bytes;
        starts[index] = 0;
        lengths[index] = bytes.length;
    }

    /** Takes the tile, or piece, of an index out. */
    void remove(int index) {
        int moved = --size - index;
        System.arraycopy(steps, index + 1, steps, index, moved);
        System.arraycopy(masks, index + 1, masks, index, moved);
        System.arraycopy(data, index + 1, data, index, moved);
        System.arraycopy(starts, index + 1, starts, index, moved);
        System.arraycopy(lengths, index + 1, lengths, index, moved);
    }

    /** Takes the first tiles out, as a block of their own. */
    Block takeFirst(int count) {
        Block taken = new Block(Math.max(count, 1));
        copy(0, taken, count);
        taken.size = count;
        Block rest = new Block(Math.max(size - count, 1));
        copy(count, rest, size - count);
        rest.size = size - count;
        size = rest.size;
        steps = rest.steps;
        masks = rest.masks;
        data = rest.data;
        starts = rest.starts;
        lengths = rest.lengths;
        return taken;
    }

    void write(ByteWriter out) {
        out.unsigned(size);
        long previous = 0;
        for (int i = 0; i < size; i++) {
            out.signed(steps[i] - previous);
            previous = steps[i];
            out.unsigned(masks[i]);
            out.unsigned(lengths[i]);
            out.raw(data[i], starts[i], lengths[i]);
        }
    }

    static Block read(ByteReader in) {
        int size = (int) in.unsigned();
        Block block = new Block(size + 1);
        block.size = size;
        long previous = 0;
        for (int i = 0; i < size; i++) {
            previous += in.signed();
            block.steps[i] = previous;
            block.masks[i] = in.unsigned();
            block.lengths[i] = (int) in.unsigned();
            block.data[i] = in.data();
            block.starts[i] = in.position();
            in.seek(in.position() + block.lengths[i]);
        }
        return block;
    }

    private static long origin(long step, Spec spec) {
        return (step - 1) * spec.slide;
    }

    private void copy(int from, Block target, int count) {
        System.arraycopy(steps, from, target.steps, 0, count);
        System.arraycopy(masks, from, target.masks, 0, count);
        System.arraycopy(data, from, target.data, 0, count);
        System.arraycopy(starts, from, target.starts, 0, count);
        System.arraycopy(lengths, from, target.lengths, 0, count);
    }

    private void insert(int index) {
        if (size == steps.length) {
            int capacity = size * 2;
            steps = Arrays.copyOf(steps, capacity);
            masks = Arrays.copyOf(masks, capacity);
            data = Arrays.copyOf(data, capacity);
            starts = Arrays.copyOf(starts, capacity);
            lengths = Arrays.copyOf(lengths, capacity);
        }
        int moved = size - index;
        System.arraycopy(steps, index, steps, index + 1, moved);
        System.arraycopy(masks, index, masks, index + 1, moved);
        System.arraycopy(data, index, data, index + 1, moved);
        System.arraycopy(starts, index, starts, index + 1, moved);
        System.arraycopy(lengths, index, lengths, index + 1, moved);
        size++;
    }
}
